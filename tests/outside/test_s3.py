"""Evidence in an S3-compatible bucket: a real server, looked into from outside."""

import hashlib
import sys

import boto3
import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import onboarding
from processes import Process, ServeConfig, ServeProcess, SimulateProcess, free_ports, http_session, wait_for
from reflected import ReflectedClient, state_of
from requests import ConnectionError

BUCKET = "faceid-evidence"
PREFIX = "test"
# Everything here is invented.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "invented", "AWS_SECRET_ACCESS_KEY": "invented", "AWS_REGION": "us-east-1"}


class S3Process(Process):
    """An S3 server (moto), in memory."""

    name = "s3"

    def __init__(self, _binary, folder):
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(sys.executable, ["-m", "moto.server", "-H", "127.0.0.1", "-p", port], folder)

    def wait_until_ready(self):
        session = http_session()

        def is_up():
            try:
                return session.get(self.url, timeout=2).status_code == 200
            except ConnectionError:
                return False

        self.wait_until("the S3 server", is_up)


@pytest.fixture
def bucket(binary, run, tmp_path):
    with run(S3Process, binary, tmp_path) as s3:
        resource = boto3.resource(
            "s3",
            endpoint_url=s3.url,
            region_name=CREDENTIALS["AWS_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        bucket = resource.create_bucket(Bucket=BUCKET)
        bucket.url = s3.url
        yield bucket


def blobs(bucket):
    """All objects but the marker that says whose evidence it is."""
    keys = {summary.key for summary in bucket.objects.all()}
    marker = f"{PREFIX}/faceid-gateway.store"
    assert marker in keys
    return keys - {marker}


def test_evidence_goes_into_the_bucket_sealed_and_out_of_it_when_redacted(binary, run, tmp_path, bucket):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        # Over 5 MiB: the upload has several parts.
        simulate.simulator.control("POST", "/media", {"video_bytes": 12_000_000})
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        text = config.file.read_text().replace('evidence = ["best_frame"]', 'evidence = ["best_frame", "video"]')
        config.file.write_text(text)
        env = CREDENTIALS | {
            "FACEID_GATEWAY__EVIDENCE__URL": f"s3://{BUCKET}/{PREFIX}",
            "AWS_ENDPOINT": bucket.url,
            "AWS_ALLOW_HTTP": "true",
        }
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve, serve.channel() as channel:
            client = ReflectedClient(channel)
            created = client.create(**onboarding())
            simulate.simulator.attempt(created.biz_token, 0)
            assert state_of(client.result(created, fresh=True).verification) == "PASSED"
            told = serve.wait_until(
                "the evidence", lambda: (told := client.result(created)) and not told.evidence_pending and told, 60
            )
            assert {evidence.content_type for evidence in told.evidence} == {"image/jpeg", "video/mp4"}
            assert len(told.evidence) == len(blobs(bucket))

            mark = hashlib.sha256(created.biz_token.encode()).hexdigest()[:48].encode()
            for evidence in told.evidence:
                request = {"verification_id": created.verification.verification_id, "evidence_id": evidence.evidence_id}
                _, *chunks = client.stream("DownloadEvidence", request)
                content = b"".join(part.chunk for part in chunks)
                assert hashlib.sha256(content).digest() == evidence.sha256
                assert mark in content[:200], "the simulator marks each medium with its token"
            for summary in bucket.objects.all():
                assert mark not in summary.get()["Body"].read(), "in the clear"

            client.call("RedactVerification", {"verification_id": created.verification.verification_id})
            wait_for("an empty bucket", lambda: not blobs(bucket))
