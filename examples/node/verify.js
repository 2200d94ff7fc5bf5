// A verification as a caller sees it: create it, take the browser back, wait for the verdict, keep the evidence.
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:http';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { call, gateway, status } from './gateway.js';

const page = new URL(process.env.CALLBACK_PAGE ?? 'http://127.0.0.1:3000/verified'); // on the flow's redirect_allow
const EXTENSIONS = { 'image/jpeg': '.jpg', 'image/png': '.png', 'video/mp4': '.mp4' };

// README: create and wait
const create = () => call('createVerification', {
  requestId: randomUUID(), // the same on a retry
  flow: 'onboarding',
  subject: { name: '张三', idNumber: '11010519491231002X' },
  returnUrl: page.href, // the browser comes back to the caller's own page
});

/** The answer with a final state. A person who fails may try again for two hours: until then it is PENDING. */
async function wait(verificationId) {
  for (;;) {
    const told = await call('getResult', { verificationId, wait: { seconds: 50 } }, 60);
    if (told.verification.state !== 'VERIFICATION_STATE_PENDING') return told;
  }
}
// README: end

/** The page to which the vendor sends the browser. The redirect is a hint: HandleCallback asks the vendor. */
const callbackPage = createServer(async (request, response) => {
  try {
    const { verification } = await call('handleCallback', { callbackUrl: request.url });
    console.log('the browser came back:', verification.state);
    response.end(verification.state);
  } catch (error) {
    response.writeHead(400).end(status[error.code]); // not ours, or forged: nothing was changed
  }
});

async function download(verificationId, { evidenceId, kind, position, contentType, sizeBytes }) {
  const file = `${kind.replace('EVIDENCE_KIND_', '').toLowerCase()}-${position}${EXTENSIONS[contentType] ?? ''}`;
  const chunks = new Transform({
    writableObjectMode: true, // what it is, then its bytes
    transform: (message, _, done) => done(null, message.chunk?.length ? message.chunk : undefined),
  });
  const kept = createWriteStream(file);
  await pipeline(gateway.downloadEvidence({ verificationId, evidenceId }), chunks, kept);
  console.log(`kept ${file}, ${kept.bytesWritten} of ${sizeBytes} bytes`);
}

callbackPage.listen(Number(page.port), '127.0.0.1');
const { url, verification: { verificationId } } = await create();
console.log('send the browser to', url);
let told = await wait(verificationId);
console.log('state:', told.verification.state);
while (told.evidencePending) { // it is fetched from the vendor after the verdict
  await pause(200);
  told = await call('getResult', { verificationId });
}
for (const evidence of told.evidence) {
  if (evidence.evidenceId) await download(verificationId, evidence);
}
callbackPage.close();
gateway.close();
