// Follows what happens to all verifications, without a gap, also when this program or the gateway starts anew.
import { readFileSync, renameSync, writeFileSync, existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { gateway, status } from './gateway.js';

const RESUME_TOKEN = 'resume_token';
const PAUSE_MS = 1000;

function act({ sequence, kind, verificationId, state }) {
  console.log(sequence, kind.replace('VERIFICATION_EVENT_KIND_', ''), verificationId, state.replace('VERIFICATION_STATE_', ''));
}

/** All of it or nothing, wherever the power fails. */
function keep(token) {
  writeFileSync(`${RESUME_TOKEN}.new`, token);
  renameSync(`${RESUME_TOKEN}.new`, RESUME_TOKEN);
}

async function watch() {
  const resumeToken = existsSync(RESUME_TOKEN) ? readFileSync(RESUME_TOKEN, 'utf8') : ''; // empty: from now on
  for await (const message of gateway.watchVerifications({ resumeToken })) {
    if (message.event) act(message.event);
    keep(message.resumeToken); // after it was acted upon: what a crash came between comes again
  }
}

for (;;) {
  try {
    await watch(); // it ends with OK after an hour: go on with the token
  } catch (error) {
    if (error.code !== status.UNAVAILABLE) throw error; // EVENTS_MISSING: list what changed, and begin with an empty token
  }
  await pause(PAUSE_MS);
}
