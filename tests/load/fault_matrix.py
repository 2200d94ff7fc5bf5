"""What callers see while the vendor, or the way to it, is not well: each fault, at three rates, under steady load.

    scripts/load fault-matrix [--seconds 8] [--always-seconds 30] [--only FAULT] [--write docs/FAULT_MATRIX.md]

Each cell has a gateway of its own, so that nothing learnt in one helps in the next. Half of the calls are CreateVerification, half
GetResult with `fresh`: each needs the vendor. The backup endpoint, where there is one, is well.
"""

import argparse
import asyncio
import contextlib
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from envoy import EnvoyProcess  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from processes import ServeConfig, ServeProcess, SimulateProcess, find_binary  # noqa: E402
from steady_load import CREATE, Outcome, Stubs, steady  # noqa: E402

PER_SECOND = 40
DEADLINE_S = 8
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
        lines = f'endpoint = "{endpoint}"\nca_file = "{folder}/ca.pem"\nrequests_per_second = 1000\n'
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
        """Calls to the vendor that the gateway has tried."""
        found = re.findall(r"^faceid_vendor_calls_total\{[^}]*\} (\d+)", self.gateway.metrics(), re.MULTILINE)
        return sum(map(int, found))

    def close(self):
        self._stack.close()
        self._proxy.close()


async def measure(cell, one_in, seconds):
    """The load with the fault, and then for a short while without it: what callers saw, tries per call, and the success after."""
    async with Stubs(cell.gateway.grpc_address) as stubs:
        created = [await stubs.call("CreateVerification", CREATE, DEADLINE_S) for _ in range(20)]
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
        cell.mend_it()
        # A breaker or a budget may need a moment; then all must be as before.
        await asyncio.sleep(6)
        after = Outcome()
        await steady(stubs, call, PER_SECOND, 3, after)
        return during, tries / max(1, during.calls), after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--always-seconds", type=float, default=30)
    parser.add_argument("--only", action="append")
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    binary = find_binary()
    rows = []
    for fault in options.only or FAULTS:
        for name, one_in, with_backup in CELLS:
            with tempfile.TemporaryDirectory() as folder:
                cell = Cell(pathlib.Path(folder), binary, fault, with_backup)
                try:
                    seconds = options.always_seconds if one_in == 1 else options.seconds
                    during, tries, after = asyncio.run(measure(cell, one_in, seconds))
                finally:
                    cell.close()
            row = (
                fault, name, f"{100 * during.success:.1f} %", f"{during.percentile_ms(0.5):.0f}",
                f"{during.percentile_ms(0.99):.0f}", f"{tries:.2f}", ", ".join(during.errors()) or "nothing",
                f"{100 * after.success:.1f} %",
            )  # fmt: skip
            rows.append(row)
            print(" | ".join(row), flush=True)
    if options.write:
        options.write.write_text(page(rows, options), encoding="utf-8")


def page(rows, options):
    head = ["fault", "how often", "succeeded", "p50 ms", "p99 ms", "tries per call", "what callers saw else", "after it"]
    table = [head, ["---"] * len(head), *rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"""\
# What callers see when the vendor is not well

Made by `scripts/load fault-matrix`; run it again to have it of your machine. {PER_SECOND} calls a second, half CreateVerification, half
GetResult with `fresh`, each with a deadline of {DEADLINE_S} s; {options.seconds:.0f} s of each fault, {options.always_seconds:.0f} s of
those that meet every call. Gateway, simulator, proxy and load share one machine of 2 cores, so the milliseconds are for comparing the
rows with each other.

*Tries per call* counts what went to the vendor for a call of a caller; below 1 means that calls were refused without asking a vendor who
is known to be away. *After it* is the success of calls that begin 6 s after the fault has ended.

{lines}
"""


if __name__ == "__main__":
    main()
