// Receives a caller's events as Standard Webhooks: verified, each acted upon once.
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_…, as in webhook_secrets_file
const MAX_BODY_BYTES = 64 * 1024;
const seen = new Set(); // in production: in the database, in the transaction that acts

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new Error('the body is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

createServer(async (request, response) => {
  try {
    const event = webhook.verify(await bodyOf(request), request.headers);
    if (!seen.has(request.headers['webhook-id'])) {
      seen.add(request.headers['webhook-id']);
      console.log(event.type, event.data.verification_id, event.data.state);
    }
    response.writeHead(204).end(); // anything but 2xx is sent again, for a day
  } catch {
    response.writeHead(400).end();
  }
}).listen(Number(process.env.PORT ?? 3001), '127.0.0.1');
