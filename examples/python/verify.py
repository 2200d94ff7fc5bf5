"""A verification as a caller sees it: create it, take the browser back, wait for the verdict, keep the evidence."""

import mimetypes
import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import grpc
from faceid.v1 import verification_pb2, verification_service_pb2 as faceid, verification_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

GATEWAY = os.environ.get("FACEID_GATEWAY", "127.0.0.1:50051")
PAGE = os.environ.get("CALLBACK_PAGE", "http://127.0.0.1:3000/verified")  # on the flow's redirect_allow
PENDING = verification_pb2.VERIFICATION_STATE_PENDING
name_of = verification_pb2.VerificationState.Name


# README: create and wait
def create(gateway):
    return gateway.CreateVerification(
        faceid.CreateVerificationRequest(
            request_id=str(uuid.uuid4()),  # the same on a retry
            flow="onboarding",
            subject=faceid.Subject(name="张三", id_number="11010519491231002X"),
            return_url=PAGE,  # the browser comes back to the caller's own page
        ),
        timeout=10,
    )


def wait(gateway, verification_id):
    """The answer with a final state. A person who fails may try again for two hours: until then it is PENDING."""
    request = faceid.GetResultRequest(verification_id=verification_id, wait=Duration(seconds=50))
    while True:
        told = gateway.GetResult(request, timeout=60)
        if told.verification.state != PENDING:
            return told
# README: end


def callback_page(gateway):
    """The page to which the vendor sends the browser. The redirect is a hint: HandleCallback asks the vendor."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                told = gateway.HandleCallback(faceid.HandleCallbackRequest(callback_url=self.path), timeout=10)
            except grpc.RpcError as error:
                return self.answer(400, error.code().name)  # not ours, or forged: nothing was changed
            print("the browser came back:", name_of(told.verification.state), flush=True)
            self.answer(200, name_of(told.verification.state))

        def answer(self, status, text):
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass  # the URL has a token in it

    server = ThreadingHTTPServer(("127.0.0.1", urlsplit(PAGE).port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def download(gateway, verification_id, evidence):
    request = faceid.DownloadEvidenceRequest(verification_id=verification_id, evidence_id=evidence.evidence_id)
    kind = faceid.EvidenceKind.Name(evidence.kind).removeprefix("EVIDENCE_KIND_").lower()
    file = f"{kind}-{evidence.position}{mimetypes.guess_extension(evidence.content_type) or ''}"
    with open(file, "wb") as kept:
        for part in gateway.DownloadEvidence(request, timeout=60):  # what it is, then its bytes
            kept.write(part.chunk)
    print(f"kept {file}, {os.path.getsize(file)} of {evidence.size_bytes} bytes")


def main():
    # In production: TLS from the mesh, and metadata=[("authorization", "Bearer …")] with each call.
    with grpc.insecure_channel(GATEWAY) as channel:
        gateway = verification_service_pb2_grpc.VerificationServiceStub(channel)
        callback_page(gateway)
        created = create(gateway)
        print("send the browser to", created.url, flush=True)

        verification_id = created.verification.verification_id
        told = wait(gateway, verification_id)
        print("state:", name_of(told.verification.state), flush=True)
        while told.evidence_pending:  # it is fetched from the vendor after the verdict
            told = gateway.GetResult(faceid.GetResultRequest(verification_id=verification_id), timeout=10)
            threading.Event().wait(0.2)
        for evidence in told.evidence:
            if evidence.evidence_id:
                download(gateway, verification_id, evidence)


if __name__ == "__main__":
    main()
