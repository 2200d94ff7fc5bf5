"""Receives a caller's events as Standard Webhooks: verified, each acted upon once."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_…, as in webhook_secrets_file
PORT = int(os.environ.get("PORT", "3001"))
MAX_BODY_BYTES = 64 * 1024
seen = set()  # in production: in the database, in the transaction that acts


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        if size > MAX_BODY_BYTES:
            return self.answer(413)
        try:
            event = WEBHOOK.verify(self.rfile.read(size), dict(self.headers))
        except WebhookVerificationError:
            return self.answer(400)
        if (message_id := self.headers["webhook-id"]) not in seen:
            seen.add(message_id)
            print(event["type"], event["data"]["verification_id"], event["data"]["state"], flush=True)
        self.answer(204)  # anything but 2xx is sent again, for a day

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
