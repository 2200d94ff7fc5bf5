"""kill -9 at random moments: what was acknowledged is still there, each attempt is in the ledger once, and all evidence opens."""

import concurrent.futures
import contextlib
import hashlib
import random
import sqlite3
import threading
import uuid

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess
from reflected import ReflectedClient, state_of

KILLS = 8
# Downloads that are compared byte by byte.
SAMPLE = 20
WORKERS = 4
# Fixed, so that a failure can be run again; the moments still differ with the machine's pace.
SEED = 20180301


class Users:
    """Keep creating verifications and passing them, whatever becomes of the gateway."""

    def __init__(self, serve, simulator):
        self.acknowledged = {}
        self._serve = serve
        self._simulator = simulator
        self._stop = threading.Event()

    def run_until_killed(self):
        with self._serve.channel() as channel:
            client = None
            while not self._stop.is_set():
                try:
                    client = client or ReflectedClient(channel)
                    request = onboarding(request_id=str(uuid.uuid4()))
                    created = client.create(**request)
                    self.acknowledged[created.verification.verification_id] = (request, created.biz_token)
                    self._simulator.attempt(created.biz_token, 2016)
                    client.result(created, fresh=True)
                    self._simulator.attempt(created.biz_token, 0)
                    client.result(created, fresh=True)
                except grpc.RpcError:
                    return  # killed under our hands
                except KeyError:
                    return  # killed while reflection was asked

    def stop(self):
        self._stop.set()


@pytest.fixture
def simulate_for_kills(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        yield simulate


def test_nothing_acknowledged_is_lost_and_nothing_is_counted_twice(binary, run, tmp_path, simulate_for_kills):
    simulator = simulate_for_kills.simulator
    config = ServeConfig(tmp_path, simulator, SECRET_ID, SECRET_KEY)
    moments = random.Random(SEED)
    acknowledged = {}
    for _ in range(KILLS):
        with run(ServeProcess, binary, tmp_path, config) as serve:
            users = Users(serve, simulator)
            with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
                working = [pool.submit(users.run_until_killed) for _ in range(WORKERS)]
                wanted = len(acknowledged) + moments.randint(1, 12)
                with contextlib.suppress(AssertionError):
                    serve.wait_until("some work", lambda: len(acknowledged) + len(users.acknowledged) >= wanted, 10)
                serve.kill()
                users.stop()
                for worker in working:
                    worker.result()
            acknowledged |= users.acknowledged
    assert len(acknowledged) >= KILLS

    with run(ServeProcess, binary, tmp_path, config) as serve, serve.channel() as channel:
        client = ReflectedClient(channel)
        vendor = {token["biz_token"]: token["attempts"] for token in simulator.control("GET", "/tokens")}
        passed_ids = []
        for verification_id, (request, biz_token) in acknowledged.items():
            again = client.create(**request)
            assert again.verification.verification_id == verification_id, "the same request_id, another verification"
            assert again.biz_token == biz_token
            told = client.call("GetResult", {"verification_id": verification_id, "fresh": True})
            attempts = vendor[biz_token]
            passed = any(attempt["code"] == 0 for attempt in attempts)
            passed_ids += [verification_id] if passed else []
            assert state_of(told.verification) == ("PASSED" if passed else "PENDING")
            assert told.verification.charged_attempts == sum(attempt["charged"] for attempt in attempts)

        # A fetch that was killed holds its lease for 8 minutes: those of the last kill may still be pending.
        pending = 0
        for verification_id in passed_ids[:: max(1, len(passed_ids) // SAMPLE)]:
            told = client.call("GetResult", {"verification_id": verification_id})
            pending += told.evidence_pending
            assert told.evidence_pending or told.evidence
            for evidence in told.evidence[:2]:
                request = {"verification_id": verification_id, "evidence_id": evidence.evidence_id}
                _, *chunks = client.stream("DownloadEvidence", request)
                content = b"".join(part.chunk for part in chunks)
                assert hashlib.sha256(content).digest() == evidence.sha256
        assert pending < len(passed_ids)

    with contextlib.closing(sqlite3.connect(config.data / "gateway.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        doubled = "SELECT verification_id, kind FROM events WHERE kind <> 'attempted' GROUP BY 1, 2 HAVING count(*) > 1"
        assert database.execute(doubled).fetchall() == []
