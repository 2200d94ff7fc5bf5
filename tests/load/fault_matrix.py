"""What callers see while the vendor, or the way to it, is not well: each fault, at three rates, under steady load.

    scripts/load fault-matrix [--seconds 8] [--always-seconds 30] [--only FAULT] [--write docs/FAULT_MATRIX.md]

Each cell has a gateway of its own, so that nothing learnt in one helps in the next. Half of the calls are CreateVerification, half
GetResult with `fresh`: each needs the vendor. The backup endpoint, where there is one, is well.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import os
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from envoy import EnvoyProcess  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from processes import ServeConfig, ServeProcess, SimulateProcess, find_binary  # noqa: E402
from steady_load import CREATE, Outcome, Stubs, steady  # noqa: E402

# Cells at once, each with processes of its own.
AT_ONCE = 2
PER_SECOND = 40
DEADLINE_S = 8
RECOVERY_LIMIT_S = 30
SECRET_ID, SECRET_KEY = "load-test-secret-id", "load-test-secret-key"

FAULTS = [
    "refused",
    "reset before the request",
    "reset after the request",
    "reset mid-body",
    "TLS failure",
    "black hole",
    "1 byte/s",
    "HTTP 500",
    "HTTP 502",
    "HTTP 503",
    "HTML with 200",
    "cut JSON",
    "throttle code",
    "InternalError",
    "SignatureExpire +10 min",
    "SignatureExpire -10 min",
    "keep-alive closed on reuse",
    "Envoy: abort 503",
    "Envoy: delay 3 s",
]

# Name, one in how many, whether there is a backup endpoint.
CELLS = [("1 in 10", 10, False), ("1 in 2", 2, False), ("always", 1, False), ("always, with a backup", 1, True)]


class Cell:
    """A gateway, a simulator and what stands between them."""

    def __init__(self, folder, binary, fault, with_backup):
        self._stack = contextlib.ExitStack()
        self._fault = fault
        try:
            self._start_all(folder, binary, fault, with_backup)
        except BaseException:
            self._stack.close()
            raise

    def _start_all(self, folder, binary, fault, with_backup):
        folder.mkdir()
        simulate = self._start(SimulateProcess(binary, folder, SECRET_ID, SECRET_KEY))
        self.simulator = simulate.simulator
        self.simulator.control("POST", "/quota", {"per_second": 1000})
        self._proxy = FaultyProxy(self.simulator.address, folder / "proxy")
        clean = FaultyProxy(self.simulator.address, folder / "clean") if with_backup else None
        self._envoy = self._start(EnvoyProcess(folder, self.simulator.address)) if "Envoy" in fault else None
        config = ServeConfig(folder / "gateway", self.simulator, SECRET_ID, SECRET_KEY, log_level="error")
        text = config.file.read_text()
        ca = "".join(proxy.ca_file.read_text() for proxy in [self._proxy, clean] if proxy)
        (folder / "ca.pem").write_text(ca)
        endpoint = self._envoy.url if self._envoy else self._proxy.url
        lines = f'endpoint = "{endpoint}"\nca_file = "{folder}/ca.pem"\nquotas.detect_auth = 1000\nquotas.get_detect_info_enhanced = 1000\n'
        if clean:
            lines += f'backup_endpoints = ["{clean.url}"]\n'
        config.file.write_text(text.replace(f'endpoint = "{self.simulator.url}"\n', lines))
        self.gateway = self._start(ServeProcess(binary, folder / "gateway", config))

    def _start(self, process):
        self._stack.callback(process.kill)
        process.wait_until_ready()
        return process

    def break_it(self, one_in):
        if self._envoy:
            self._envoy.plan(self._fault, one_in)
        elif self._fault.startswith("SignatureExpire") and one_in == 1:
            # All of the vendor is off: its own clock, not a made-up answer.
            self.simulator.advance_clock(600 if "+" in self._fault else -600)
        else:
            self._proxy.plan(self._fault, one_in)

    def mend_it(self):
        if self._envoy:
            self._envoy.plan(self._fault, 0)
        else:
            self._proxy.plan(None)

    def tries(self):
        """How often the gateway has tried to ask the vendor."""
        found = re.findall(r"^faceid_vendor_tries_per_call_sum\{[^}]*\} (\d+)", self.gateway.metrics(), re.MULTILINE)
        return sum(map(int, found))

    def close(self):
        self._stack.close()
        self._proxy.close()


async def measure(cell, one_in, seconds):
    """The load without the fault, with it, and without it again: what callers saw meanwhile, tries per call, and how long after the
    end of the fault the last call began that failed."""
    async with Stubs(cell.gateway.grpc_address) as stubs:
        # As many as are read in ten seconds, so that reads seldom share a question to the vendor.
        created = await steady(stubs, lambda stubs, i: stubs.call("CreateVerification", CREATE, DEADLINE_S), PER_SECOND, 5, Outcome())
        ids = [answer.verification.verification_id for answer in created]

        def call(stubs, i):
            if i % 2:
                request = {"verification_id": ids[i // 2 % len(ids)], "fresh": True}
                return stubs.call("GetResult", request, DEADLINE_S)
            return stubs.call("CreateVerification", CREATE, DEADLINE_S)

        tries = cell.tries()
        cell.break_it(one_in)
        during = Outcome()
        await steady(stubs, call, PER_SECOND, seconds, during)
        tries = cell.tries() - tries
        # The last of them were waited for.
        cell.mend_it()
        mended_at = last_failure = time.perf_counter()
        while time.perf_counter() < mended_at + RECOVERY_LIMIT_S:
            after = Outcome()
            await steady(stubs, call, PER_SECOND, 3, after)
            if not after.failed_at_s:
                return during, tries / max(1, during.calls), f"{last_failure - mended_at:.1f}"
            last_failure = max(after.failed_at_s)
        return during, tries / max(1, during.calls), f"over {RECOVERY_LIMIT_S}"


def start_cell(folder, fault, with_backup):
    """A port that was free a moment ago may be taken by a connection of the other cell: then others are tried."""
    for attempt in range(5):
        try:
            return Cell(folder / str(attempt), find_binary(), fault, with_backup)
        except AssertionError as error:
            print(f"{fault}: started again: {error}", file=sys.stderr)
    raise AssertionError(f"{fault}: no cell could be started")


def row_of(fault, name, one_in, with_backup, options):
    with tempfile.TemporaryDirectory() as folder:
        cell = start_cell(pathlib.Path(folder), fault, with_backup)
        try:
            seconds = options.always_seconds if one_in == 1 else options.seconds
            during, tries, recovery_s = asyncio.run(measure(cell, one_in, seconds))
        finally:
            cell.close()
    return (
        fault, name, f"{100 * during.success:.1f} %", f"{during.percentile_ms(0.5):.0f}", f"{during.percentile_ms(0.99):.0f}",
        f"{tries:.2f}", ", ".join(during.errors()) or "nothing", recovery_s,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--always-seconds", type=float, default=30)
    parser.add_argument("--only", action="append")
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    cells = [(fault, *cell, options) for fault in options.only or FAULTS for cell in CELLS]
    with concurrent.futures.ProcessPoolExecutor(AT_ONCE) as pool:
        rows = []
        for row in pool.map(row_of, *zip(*cells)):
            rows.append(row)
            print(" | ".join(row), flush=True)
    if options.write:
        options.write.write_text(page(rows, options), encoding="utf-8")


def page(rows, options):
    head = ["fault", "how often", "succeeded", "p50 ms", "p99 ms", "tries per call", "what callers saw else", "over after s"]
    table = [head, ["---"] * len(head), *rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""\
# What callers see when the vendor is not well

Made by `scripts/load fault-matrix`; run it again to have it of your machine. {PER_SECOND} calls a second, half CreateVerification, half
GetResult with `fresh`, each with a deadline of {DEADLINE_S} s; {options.seconds:.0f} s of each fault, {options.always_seconds:.0f} s of
those that meet every call. {AT_ONCE} rows were measured at a time on a machine of {os.cpu_count()} cores, with gateway, simulator, proxy and
load, so the milliseconds are for comparing the rows with each other.

- *Tries per call* counts what went to the vendor for a call of a caller. Much below 1: callers were refused at once, without asking a vendor who
  is known to be away.
- *Over after* tells how many seconds after the end of the fault the last call began that still failed: a breaker lets one call in five seconds
  through, to find out whether the endpoint is back.
- Where every second call fails, retries are given to one call in five and ten a second more (`src/tencent/retry.rs`), so that an outage is not
  multiplied: at this load that is what some of the callers see. With a backup endpoint a call's first try there is no retry.
- *SignatureExpire, always* moves the vendor's own clock. Ten minutes ahead, the gateway looks after the verifications of the load by itself, and its
  tries are counted, too.
- A call to a silent endpoint costs `first_byte_timeout_ms` (5 s) until it is tried elsewhere. Two such tries are more than the deadline here.

{lines}
"""


if __name__ == "__main__":
    main()
