"""Thousands of creates at once against a vendor that takes 10 s: memory of the gateway for each call in flight, and what callers see.

    scripts/load slow-vendor [--calls 5000]

Runs twice: with room for all of them, to weigh a call; and with the default cap, to see the shedding.
"""

import argparse
import asyncio
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from processes import ServeConfig, ServeProcess, SimulateProcess, find_binary  # noqa: E402
from steady_load import CREATE, Outcome, Stubs  # noqa: E402

VENDOR_S = 10
DEADLINE_S = 60
SECRET_ID, SECRET_KEY = "load-test-secret-id", "load-test-secret-key"


def memory_kib(process, field):
    status = pathlib.Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1])


async def creates_at_once(gateway, calls):
    async with Stubs(gateway.grpc_address) as stubs:
        pathlib.Path(f"/proc/{gateway.popen.pid}/clear_refs").write_text("5")
        before = memory_kib(gateway, "VmRSS")
        outcome = Outcome()
        await asyncio.gather(
            *(outcome.of(stubs.call("CreateVerification", CREATE, DEADLINE_S)) for _ in range(calls))
        )
        return outcome, memory_kib(gateway, "VmHWM") - before


def run(folder, calls, max_in_flight):
    binary = find_binary()
    simulate = SimulateProcess(binary, folder, SECRET_ID, SECRET_KEY)
    config = ServeConfig(folder / "gateway", simulate.simulator, SECRET_ID, SECRET_KEY, log_level="error")
    lines = f'endpoint = "{simulate.simulator.url}"\ntimeout_ms = 30000\nfirst_byte_timeout_ms = 20000\nquotas.detect_auth = 10000\nquotas.get_detect_info_enhanced = 10000\n'
    if max_in_flight:
        lines += f"max_in_flight = {max_in_flight}\n"
    text = config.file.read_text()
    # One caller makes them all.
    limits = f"[limits]\ncalls_per_caller = {calls + 100}\n"
    config.file.write_text(limits + text.replace(f'endpoint = "{simulate.simulator.url}"\n', lines))
    try:
        simulate.wait_until_ready()
        simulate.simulator.control("POST", "/quota", {"per_second": 100000})
        gateway = ServeProcess(binary, folder / "gateway", config)
        try:
            gateway.wait_until_ready()
            return asyncio.run(slowly(gateway, simulate.simulator, calls))
        finally:
            gateway.kill()
    finally:
        simulate.kill()


async def slowly(gateway, simulator, calls):
    async with Stubs(gateway.grpc_address) as stubs:
        await stubs.call("CreateVerification", CREATE, DEADLINE_S)  # everything is warm
    simulator.fault("DetectAuth", "delay", times=1_000_000, ms=1000 * VENDOR_S)
    return await creates_at_once(gateway, calls)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    options = parser.parse_args()
    for title, cap in [("room for all", options.calls), ("the default cap", None)]:
        with tempfile.TemporaryDirectory() as folder:
            outcome, grown_kib = run(pathlib.Path(folder), options.calls, cap)
        print(f"{title}: {options.calls} creates at once, vendor takes {VENDOR_S} s")
        print(f"  OK {outcome.seen['OK']}; else: {', '.join(outcome.errors()) or 'nothing'}")
        print(f"  p50 {outcome.percentile_ms(0.5):.0f} ms, p99 {outcome.percentile_ms(0.99):.0f} ms")
        print(f"  memory above rest: {grown_kib / 1024:.1f} MiB, {grown_kib / options.calls:.1f} KiB for each call")


if __name__ == "__main__":
    main()
