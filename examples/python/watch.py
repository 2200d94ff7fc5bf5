"""Follows what happens to all verifications, without a gap, also when this program or the gateway starts anew."""

import os
import pathlib
import time

import grpc
from faceid.v1 import verification_pb2, verification_service_pb2 as faceid, verification_service_pb2_grpc

GATEWAY = os.environ.get("FACEID_GATEWAY", "127.0.0.1:50051")
RESUME_TOKEN = pathlib.Path("resume_token")
PAUSE_S = 1


def act(event):
    kind = faceid.VerificationEventKind.Name(event.kind).removeprefix("VERIFICATION_EVENT_KIND_")
    state = verification_pb2.VerificationState.Name(event.state).removeprefix("VERIFICATION_STATE_")
    print(event.sequence, kind, event.verification_id, state, flush=True)


def keep(token):
    """All of it or nothing, wherever the power fails."""
    new = RESUME_TOKEN.with_suffix(".new")
    new.write_text(token)
    new.replace(RESUME_TOKEN)


def watch(gateway):
    token = RESUME_TOKEN.read_text() if RESUME_TOKEN.exists() else ""  # empty: from now on
    for message in gateway.WatchVerifications(faceid.WatchVerificationsRequest(resume_token=token)):
        if message.HasField("event"):
            act(message.event)
        keep(message.resume_token)  # after it was acted upon: what a crash came between comes again


def main():
    with grpc.insecure_channel(GATEWAY) as channel:
        gateway = verification_service_pb2_grpc.VerificationServiceStub(channel)
        while True:
            try:
                watch(gateway)  # it ends with OK after an hour: go on with the token
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise  # EVENTS_MISSING: list what changed, and begin with an empty token
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
