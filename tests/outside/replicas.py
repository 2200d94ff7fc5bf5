"""Gateways on one PostgreSQL with a standby, under a steady load, while what they run on fails around them."""

import collections
import itertools
import random
import threading
import time
import uuid

import grpc
from people import onboarding
from postgres import Postgres, Standby
from processes import ServeConfig, ServeProcess, wait_for
from reflected import ReflectedClient, name_of, state_of

CALLERS = 8
# Calls a second of each action that the vendor takes, fewer than the callers would make; what is beyond it refuses.
QUOTA = 20
# What a caller may try again: the gateway, or what it needs, is not there.
TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


class Database:
    """A primary whose commits wait for the standby: what was acknowledged is on both."""

    def __init__(self, folder):
        self.primary = Postgres(folder / "primary", ["synchronous_standby_names='*'"], hba="host all,replication faceid 127.0.0.1/32 trust\n")
        self.primary.start()
        self.standby = Standby(folder / "standby", self.primary)
        self.standby.start()
        self.standby.wait_until_it_follows()
        self.now = self.primary

    def url(self):
        return self.primary.url(self.standby)

    def restart_primary(self):
        self.now.kill()
        self.now.start()

    def promote_standby(self):
        self.primary.kill()
        self.standby.promote()
        self.now = self.standby

    def stop(self):
        self.primary.kill()
        self.standby.kill()


class Replicas:
    """Gateways with the same configuration; only their ports differ."""

    def __init__(self, binary, folder, simulator, database, secrets):
        self._binary, self._folder, self._simulator, self._database = binary, folder, simulator, database
        self._secrets = secrets
        self._numbers = itertools.count()
        self.living = []
        self._lock = threading.Lock()

    def start(self):
        folder = self._folder / f"gateway-{next(self._numbers)}"
        config = ServeConfig(folder, self._simulator, *self._secrets)
        env = {
            "FACEID_GATEWAY__STORE__URL": self._database.url(),
            "FACEID_GATEWAY__EVIDENCE__URL": f"file:{self._folder}/evidence",
            "FACEID_GATEWAY__TENCENT__QUOTAS__DETECT_AUTH": str(QUOTA),
            "FACEID_GATEWAY__TENCENT__QUOTAS__GET_DETECT_INFO_ENHANCED": str(QUOTA),
        }
        serve = ServeProcess(self._binary, folder, config, env)
        serve.wait_until_ready()
        serve.opened = serve.channel()
        serve.client = ReflectedClient(serve.opened)
        with self._lock:
            self.living.append(serve)
        return serve

    def any(self):
        with self._lock:
            return random.choice(self.living)

    def kill_one(self):
        with self._lock:
            serve = self.living.pop(random.randrange(len(self.living)))
        serve.kill()

    def stop(self):
        for serve in self.living:
            serve.opened.close()
            serve.kill()


class Load:
    """Callers that create, have their users pass, and try again what was not acknowledged."""

    def __init__(self, replicas, simulator):
        self._replicas, self._simulator = replicas, simulator
        self._is_over = threading.Event()
        self.acknowledged = {}  # by request id
        self.latencies_s = []  # of each create until it was acknowledged: when it began, and how long it took
        self.codes = collections.Counter()
        self.faults = []
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]

    def _run(self):
        try:
            while not self._is_over.is_set():
                self._one()
        except Exception as fault:  # a thread's fault is the test's
            self.faults.append(fault)

    def _one(self):
        request_id, began = str(uuid.uuid4()), time.monotonic()
        while True:
            try:
                created = self._replicas.any().client.create(**onboarding(request_id=request_id))
                break
            except grpc.RpcError as error:
                self.codes[error.code().name] += 1
                if error.code() not in TRANSIENT:
                    raise
                time.sleep(0.1)
        self.codes["OK"] += 1
        self.latencies_s.append((began, time.monotonic() - began))
        self.acknowledged[request_id] = created
        self._simulator.attempt(created.biz_token, 0)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


class Watcher:
    """Follows all events from now on, over whichever replica lives."""

    def __init__(self, replicas):
        self._replicas = replicas
        self.seen = collections.Counter()  # (verification id, kind)
        self.token = ""
        self._is_over = threading.Event()
        self._stream = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for("the watcher's first message", lambda: self.token)

    def _run(self):
        while not self._is_over.is_set():
            try:
                self._stream = self._replicas.any().client.each("WatchVerifications", {"resume_token": self.token})
                for message in self._stream:
                    if message.HasField("event"):
                        self.seen[message.event.verification_id, name_of(message.event, "kind")] += 1
                    self.token = message.resume_token
            except grpc.RpcError:
                time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._stream.cancel()
        self._thread.join()


def check(load, watcher, replicas, database):
    """Nothing acknowledged is lost or doubled, everything is settled once, and every event was seen once."""
    assert not load.faults, load.faults
    for created in load.acknowledged.values():
        wait_for("a result", lambda created=created: passed(replicas, created))
    rows = int(database.now.sql("SELECT count(*) FROM verifications WHERE request_id IS NOT NULL"))
    assert rows == len(load.acknowledged), f"{rows} verifications, {len(load.acknowledged)} acknowledged"
    doubled = "SELECT count(*) FROM (SELECT 1 FROM events WHERE kind = 'settled' GROUP BY verification_id HAVING count(*) <> 1) AS doubled"
    assert database.now.sql(doubled) == "0"
    events = int(database.now.sql("SELECT count(*) FROM events"))
    wait_for("all events", lambda: sum(watcher.seen.values()) >= events)
    assert sum(watcher.seen.values()) == events
    for created in load.acknowledged.values():
        for kind in ("CREATED", "SETTLED"):
            assert watcher.seen[created.verification.verification_id, f"VERIFICATION_EVENT_KIND_{kind}"] == 1
    for serve in replicas.living:
        assert "RequestLimitExceeded" not in serve.metrics(), "the replicas together were over the vendor's limit"


def passed(replicas, created):
    try:
        return state_of(replicas.any().client.result(created).verification) == "PASSED"
    except grpc.RpcError as error:
        assert error.code() in TRANSIENT, error
        return False
