"""Every attack of tests/outside/test_limits.py at once, on a gateway with 512 MiB, while another caller is served.

    scripts/load limits [--minutes 5] [--only waits --only watches]

Needs root, for the memory limit (a cgroup). Prints what the other caller saw before and meanwhile, how long the gateway worked and
waited for a processor, and the most memory that was used; ends with 1 when the process died, the other caller failed, or its p99 was over 10 times the quiet one.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import multiprocessing
import os
import pathlib
import random
import socket
import sys
import tempfile
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from http2 import Connection, message  # noqa: E402
from people import FAILURE_URL, SUCCESS_URL, onboarding  # noqa: E402
from processes import ServeConfig, ServeProcess, SimulateProcess, find_binary  # noqa: E402
from reflected import ReflectedClient  # noqa: E402
from steady_load import CREATE, Outcome, Stubs, percentile_ms, steady  # noqa: E402

LIMIT_MIB = 512
SECRET_ID, SECRET_KEY = "load-test-secret-id", "load-test-secret-key"
TOKENS = {"orders": "orders-token", "least": "least-token", "dead": "dead-token"}
STRANGERS = ["127.0.0.66", "127.0.0.67", "127.0.0.68", "127.0.0.69"]
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
LIST = "/faceid.v1.VerificationService/ListVerifications"
PER_SECOND = 20


class MemoryLimit:
    """A cgroup, of version 1 or 2."""

    def __init__(self, mib):
        v1 = pathlib.Path("/sys/fs/cgroup/memory")
        self.is_v1 = v1.is_dir()
        self.folder = (v1 if self.is_v1 else pathlib.Path("/sys/fs/cgroup")) / f"faceid-limits-{os.getpid()}"
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(mib << 20))

    def peak_mib(self):
        return int((self.folder / ("memory.max_usage_in_bytes" if self.is_v1 else "memory.peak")).read_text()) >> 20

    def remove(self):
        self.folder.rmdir()


class LimitedServe(ServeProcess):
    def __init__(self, binary, folder, config, cgroup):
        wrapper = folder / "limited"
        wrapper.write_text(f'#!/bin/sh\necho $$ > "{cgroup.folder}/cgroup.procs"\nexec "{binary}" "$@"\n')
        wrapper.chmod(0o700)
        super().__init__(wrapper, folder, config)


def configure(config, dead_port):
    hashes = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
    callers = "".join(
        f'\n[[callers]]\nname = "{name}"\ntoken_sha256 = ["{digest}"]\nflows = ["onboarding", "photo"]\n'
        for name, digest in hashes.items()
    )
    callers += f'webhook_url = "http://127.0.0.1:{dead_port}/"\nwebhook_allow_private = true\n'
    callers += 'webhook_secrets = "whsec_aW52ZW50ZWQtd2ViaG9vay1zZWNyZXQtb2Ytbm9ib2R5"\n'
    text = config.file.read_text().replace('mode = "none"', 'mode = "tokens"')
    config.file.write_text(text + callers)


# --- The attacks: each goes on until the deadline -----------------------------------------------------------------------


def forever(attack):
    def repeat(gateway, until):
        # As if from other machines: they leave the processors to the gateway.
        os.nice(19)
        while time.time() < until:
            with contextlib.suppress(OSError, grpc.RpcError, AssertionError):
                attack(gateway, until)
            time.sleep(0.05)

    repeat.__name__ = attack.__name__
    return repeat


def stranger():
    return random.choice(STRANGERS)


@forever
def unfinished_messages(gateway, until):
    body = message(b"\0" * ((4 << 20) - 6))[:-1]
    with Connection(gateway["grpc"], source=stranger()) as connection:
        sent = {connection.open(CHECK): 0 for _ in range(140)}
        for _ in range(100):
            connection.pump(0.02)
            for stream in sent.keys() - connection.ended.keys():
                sent[stream] += connection.send(stream, body[sent[stream] : sent[stream] + 65_536])
            if time.time() > until or not connection.is_open:
                return


@forever
def watches(gateway, until):
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(Connection(gateway["grpc"], source=stranger()))
            for _ in range(250):
                connection.send(connection.open(WATCH), message(b""), end=True)
            connection.pump(0.05)
        time.sleep(min(5, max(0, until - time.time())))


@forever
def silent_connections(gateway, until):
    with contextlib.ExitStack() as stack:
        for i in range(2_000):
            port = gateway[("grpc", "http")[i % 2]]
            host, number = port.split(":")
            with contextlib.suppress(OSError):
                opened = stack.enter_context(
                    socket.create_connection((host, int(number)), timeout=2, source_address=(stranger(), 0))
                )
                opened.sendall([b"", b"PRI * HT", b"GET /callback HT"][i % 3])
        time.sleep(min(10, max(0, until - time.time())))


@forever
def readers_that_do_not_read(gateway, until):
    with contextlib.ExitStack() as stack:
        for name, path in [("admin", "/metrics"), ("http", "/callback")] * 60:
            host, number = gateway[name].split(":")
            opened = stack.enter_context(socket.create_connection((host, int(number)), timeout=2))
            opened.setblocking(False)
            with contextlib.suppress(OSError):
                opened.send(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode() * 2_000)
        time.sleep(min(10, max(0, until - time.time())))


@forever
def repeated_callback(gateway, until):
    host, number = gateway["http"].split(":")
    path = gateway["callback"].split(gateway["http"], 1)[1]
    with socket.create_connection((host, int(number)), timeout=5) as browser:
        while time.time() < until:
            browser.sendall(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
            if not browser.recv(65_536):
                return


@forever
def growing_messages(gateway, until):
    bomb = message(gzip.compress(b"\x0a\x80\x89\x7a" + b"\x4d" * 2_000_000, 9), compressed=True)
    headers = [("grpc-encoding", "gzip"), ("authorization", f"Bearer {TOKENS['least']}")]
    with Connection(gateway["grpc"]) as connection:
        for _ in range(500):
            connection.send(connection.open(LIST, headers), bomb, end=True)
            connection.pump(0.005)
            if time.time() > until or not connection.is_open:
                return


@forever
def unfinished_messages_of_a_caller(gateway, until):
    body = message(b"\0" * ((4 << 20) - 6))[:-1]
    headers = [("authorization", f"Bearer {TOKENS['least']}")]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(gateway["grpc"])) for _ in range(8)]
        streams = [
            {connection.open("/faceid.v1.VerificationService/CreateVerification", headers): 0 for _ in range(50)}
            for connection in connections
        ]
        for _ in range(60):
            for connection, sent in zip(connections, streams, strict=True):
                connection.pump(0.005)
                for stream in sent.keys() - connection.ended.keys():
                    sent[stream] += connection.send(stream, body[sent[stream] : sent[stream] + 65_536])
            if time.time() > until:
                return


@forever
def answers_that_are_not_read(gateway, until):
    headers = [("authorization", f"Bearer {TOKENS['least']}")]
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(Connection(gateway["grpc"], initial_window_size=0))
            for _ in range(200):
                connection.send(connection.open(LIST, headers), message(b"\x40\xf4\x03"), end=True)
            connection.pump(0.5)
        time.sleep(min(10, max(0, until - time.time())))


@forever
def faults(gateway, until):
    with grpc.insecure_channel(gateway["grpc"], options=[("grpc.enable_http_proxy", 0)]) as channel:
        client = ReflectedClient(channel)
        bad = onboarding(labels={f"Bad {i}": "x" * 300 for i in range(16)})
        while time.time() < until:
            with contextlib.suppress(grpc.RpcError):
                client.call("CreateVerification", bad, metadata=[("authorization", f"Bearer {TOKENS['least']}")])


@forever
def waits(gateway, until):
    asyncio.run(_waits(gateway, until))


async def _waits(gateway, until):
    async with Stubs(gateway["grpc"]) as stubs:
        while time.time() < until:
            request = {"verification_id": gateway["pending"], "wait": "20s"}
            metadata = (("authorization", f"Bearer {TOKENS['least']}"),)
            waiting = [stubs.call("GetResult", request, 25, metadata) for _ in range(1_000)]
            await asyncio.gather(*waiting, return_exceptions=True)


@forever
def events_for_a_dead_receiver(gateway, until):
    with grpc.insecure_channel(gateway["grpc"], options=[("grpc.enable_http_proxy", 0)]) as channel:
        client = ReflectedClient(channel)
        while time.time() < until:
            with contextlib.suppress(grpc.RpcError):
                client.call("CreateVerification", CREATE, metadata=[("authorization", f"Bearer {TOKENS['dead']}")])
            time.sleep(0.2)


ATTACKS = [
    unfinished_messages,
    watches,
    silent_connections,
    readers_that_do_not_read,
    repeated_callback,
    growing_messages,
    unfinished_messages_of_a_caller,
    answers_that_are_not_read,
    faults,
    waits,
    events_for_a_dead_receiver,
]


# --- The other caller ---------------------------------------------------------------------------------------------------


class Processors:
    """How long a process had a processor, and how long its threads waited for one, since this was made."""

    def __init__(self, pid):
        self.pid = pid
        self.began = self.times()
        self.began_at = time.perf_counter()

    def times(self):
        """By thread: seconds on a processor, and seconds runnable and waiting for one."""
        of_threads = {}
        for thread in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                ran, waited, _ = (thread / "schedstat").read_text().split()
                of_threads[thread.name] = (int(ran) / 1e9, int(waited) / 1e9)
        return of_threads

    def told(self):
        seconds = time.perf_counter() - self.began_at
        before = self.began
        pairs = [(now, before.get(thread, (0, 0))) for thread, now in self.times().items()]
        ran, waited = (sum(now[i] - then[i] for now, then in pairs) for i in (0, 1))
        return f"{ran / seconds:.2f} of {os.cpu_count()} processors used, {waited / seconds:.2f} threads waiting for one"


async def served(gateway, seconds):
    outcome = Outcome()
    metadata = (("authorization", f"Bearer {TOKENS['orders']}"),)
    async with Stubs(gateway["grpc"]) as stubs:
        make = lambda stubs, _: stubs.call("CreateVerification", CREATE, 10, metadata)  # noqa: E731
        await steady(stubs, make, PER_SECOND, seconds, outcome)
    return outcome


def tell(title, outcome, processors):
    print(
        f"{title}: {outcome.calls} creates, {100 * outcome.success:.2f} % OK, p50 {outcome.percentile_ms(0.5):.1f} ms, "
        f"p99 {outcome.percentile_ms(0.99):.1f} ms; else: {', '.join(outcome.errors()) or 'nothing'}; "
        f"begun late: p99 {percentile_ms(outcome.late_s, 0.99):.1f} ms; the gateway: {processors.told()}; "
        f"load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def addresses(serve):
    ports = {"grpc": serve.grpc_address, "http": serve.http_url, "admin": serve.admin_url}
    gateway = {name: url.removeprefix("http://") for name, url in ports.items()}
    metadata = [("authorization", f"Bearer {TOKENS['least']}")]
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        ask = onboarding(success_url=SUCCESS_URL, failure_url=FAILURE_URL)
        created = client.call("CreateVerification", ask, metadata=metadata)
    gateway["callback"] = serve.simulator.attempt(created.biz_token, 2016)["redirect_url"]
    gateway["pending"] = created.verification.verification_id
    return gateway


def measure(title, serve, gateway, seconds):
    processors = Processors(serve.popen.pid)
    outcome = asyncio.run(served(gateway, seconds))
    tell(title, outcome, processors)
    return outcome


def attack(serve, cgroup, minutes, attacks):
    gateway = addresses(serve)
    asyncio.run(served(gateway, 5))  # everything is warm
    quiet = measure("quiet", serve, gateway, 20)
    until = time.time() + 60 * minutes
    attackers = [multiprocessing.Process(target=one, args=(gateway, until), daemon=True) for one in attacks]
    for attacker in attackers:
        attacker.start()
    attacked = measure("attacked", serve, gateway, 60 * minutes - 5)
    for attacker in attackers:
        attacker.join(30)
        attacker.kill()
    is_alive = serve.popen.poll() is None
    if is_alive:
        measure("after", serve, gateway, 10)
    print(f"alive: {is_alive}; most memory used: {cgroup.peak_mib()} of {LIMIT_MIB} MiB", flush=True)
    serve.terminate()
    print(f"exit code after SIGTERM: {serve.exit_code(40)}")
    slower = attacked.percentile_ms(0.99) / max(1e-9, quiet.percentile_ms(0.99))
    print(f"p99 attacked / quiet: {slower:.1f}")
    return is_alive and attacked.success > 0.999 and slower < 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    names = {one.__name__: one for one in ATTACKS}
    parser.add_argument("--only", action="append", choices=names, help="these attacks instead of all")
    options = parser.parse_args()
    attacks = [names[name] for name in options.only or names]
    binary = find_binary()
    cgroup = MemoryLimit(LIMIT_MIB)
    # Takes connections into its backlog, and answers none.
    dead = socket.create_server(("127.0.0.1", 0))
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            simulate = SimulateProcess(binary, folder, SECRET_ID, SECRET_KEY)
            config = ServeConfig(folder / "gateway", simulate.simulator, SECRET_ID, SECRET_KEY, log_level="error")
            configure(config, dead.getsockname()[1])
            try:
                simulate.wait_until_ready()
                serve = LimitedServe(binary, folder / "gateway", config, cgroup)
                try:
                    serve.wait_until_ready()
                    sys.exit(0 if attack(serve, cgroup, options.minutes, attacks) else 1)
                finally:
                    serve.kill()
            finally:
                simulate.kill()
    finally:
        cgroup.remove()


if __name__ == "__main__":
    main()
