"""A backup under load, with kills in the middle: what was acknowledged before it is back, and nobody is told half of the rest."""

import concurrent.futures
import hashlib
import json
import random
import subprocess
import threading
import time

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess
from reflected import Refusal, ReflectedClient, state_of
from test_kills import Users

WORKERS = 3
SEED = 20180301
COMMAND_S = 60


class Watcher:
    """Follows all events of the caller, and keeps its place."""

    def __init__(self, serve):
        self.token = ""
        self._serve = serve
        self._thread = threading.Thread(target=self._follow)

    def start(self):
        self._thread.start()

    def join(self):
        self._thread.join()

    def _follow(self):
        with self._serve.channel() as channel:
            try:
                for answer in ReflectedClient(channel).each("WatchVerifications", {}):
                    self.token = answer.resume_token
            except (grpc.RpcError, KeyError):
                return  # killed under our hands


def command(binary, config, name, *args):
    words = [str(binary), name, "--config", str(config.file), *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=False)


def acknowledged_of(users):
    return dict(list(users.acknowledged.items()))


@pytest.fixture
def simulate_for_backup(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        yield simulate


def test_a_backup_under_load_brings_back_what_was_acknowledged_before_it(binary, run, tmp_path, simulate_for_backup):
    simulator = simulate_for_backup.simulator
    config = ServeConfig(tmp_path, simulator, SECRET_ID, SECRET_KEY)
    moments = random.Random(SEED)
    with run(ServeProcess, binary, tmp_path, config) as serve:
        users, watcher = Users(serve, simulator), Watcher(serve)
        watcher.start()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            working = [pool.submit(users.run_until_killed) for _ in range(WORKERS)]
            serve.wait_until("some work", lambda: len(users.acknowledged) >= 10)
            # Backups that are killed are none, or whole.
            for n in range(5):
                begun = subprocess.Popen([binary, "backup", "--config", config.file, "--to", tmp_path / f"killed-{n}"])
                time.sleep(moments.uniform(0, 0.15))
                begun.kill()
                begun.wait()
            before = acknowledged_of(users)
            made = command(binary, config, "backup", "--to", tmp_path / "backup")
            assert made.returncode == 0, made.stderr
            serve.wait_until("work after it", lambda: len(users.acknowledged) >= len(before) + 5)
            token_before = watcher.token
            assert token_before
            refused = command(binary, config, "restore", "--from", tmp_path / "backup")
            assert refused.returncode == 1
            assert f"process {serve.popen.pid} has the database open" in refused.stderr
            serve.kill()
            users.stop()
            for worker in working:
                worker.result()
        watcher.join()
    after = {key: value for key, value in users.acknowledged.items() if key not in before}
    manifest = json.loads((tmp_path / "backup/manifest.json").read_text())
    assert manifest["vault_keys"] == ["k1"]

    lost = tmp_path / "lost"
    lost.mkdir()
    for part in config.data.glob("gateway.db*"):
        part.rename(lost / part.name)
    for n in range(5):
        folder = tmp_path / f"killed-{n}"
        if folder.is_dir() and not (folder / "manifest.json").exists():
            refused = command(binary, config, "restore", "--from", folder)
            assert refused.returncode == 1 and "not finished" in refused.stderr
            assert not (config.data / "gateway.db").exists()
    # A restore that is killed has put nothing in place, or all of it.
    begun = subprocess.Popen([binary, "restore", "--config", config.file, "--from", tmp_path / "backup"])
    time.sleep(moments.uniform(0, 0.1))
    begun.kill()
    begun.wait()
    if not (config.data / "gateway.db").exists():
        restored = command(binary, config, "restore", "--from", tmp_path / "backup")
        assert restored.returncode == 0, restored.stderr

    blobs = {path for path in (config.data / "evidence").rglob("*") if path.is_file()}
    with run(ServeProcess, binary, tmp_path, config) as serve, serve.channel() as channel:
        client = ReflectedClient(channel)
        refusal = refusal_of_stream(client, token_before)
        assert refusal == "EVENTS_MISSING"
        vendor = {token["biz_token"]: token["attempts"] for token in simulator.control("GET", "/tokens")}
        for verification_id, (request, biz_token) in before.items():
            again = client.create(**request)
            assert again.verification.verification_id == verification_id, "acknowledged before the backup, and lost"
            told = client.result(again, fresh=True)
            passed = any(attempt["code"] == 0 for attempt in vendor[biz_token])
            assert state_of(told.verification) == ("PASSED" if passed else "PENDING")
            assert told.verification.charged_attempts == sum(attempt["charged"] for attempt in vendor[biz_token])
            for evidence in told.evidence[:1]:
                wanted = {"verification_id": verification_id, "evidence_id": evidence.evidence_id}
                _, *chunks = client.stream("DownloadEvidence", wanted)
                assert hashlib.sha256(b"".join(part.chunk for part in chunks)).digest() == evidence.sha256
        for verification_id in list(after)[-3:]:
            refusal = client.refusal("GetResult", {"verification_id": verification_id})
            assert refusal.reason == "VERIFICATION_NOT_FOUND"
        client.create(**onboarding())
        assert blobs <= {path for path in (config.data / "evidence").rglob("*") if path.is_file()}
    assert command(binary, config, "doctor").stdout.count("is this store's") == 1


def refusal_of_stream(client, resume_token):
    try:
        client.stream("WatchVerifications", {"resume_token": resume_token}, timeout=5)
    except grpc.RpcError as error:
        return Refusal(error).reason
    raise AssertionError("resumed")
