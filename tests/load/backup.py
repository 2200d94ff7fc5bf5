"""Creates while the database is backed up over and over (under nice), against creates without: what a backup costs the callers.

    scripts/load backup [--verifications 200000] [--per-second 20]

Rounds with and without take turns, so that both see the same machine. The store is filled with copies of one verification.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import shutil
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from processes import ServeConfig, ServeProcess, SimulateProcess, find_binary  # noqa: E402
from steady_load import CREATE, Outcome, Stubs, percentile_ms, steady  # noqa: E402

ROUNDS = 4
ROUND_S = 15
DEADLINE_S = 30
SECRET_ID, SECRET_KEY = "load-test-secret-id", "load-test-secret-key"


def fill(database, verifications):
    """Copies of the one verification that is there. They do not verify, which no backup looks at."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(verifications)")]
        other = {"id": "lower(hex(randomblob(16)))", "token_hash": "randomblob(32)"}
        values = ", ".join(other.get(column, column) for column in columns)
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {verifications})"
        connection.execute(
            f"{numbers} INSERT INTO verifications ({', '.join(columns)}) "
            f"SELECT {values} FROM n, (SELECT * FROM verifications LIMIT 1)"
        )


async def back_up(binary, config, folder):
    started = time.perf_counter()
    words = ["-n", "19", str(binary), "backup", "--config", str(config.file), "--to", str(folder)]
    process = await asyncio.create_subprocess_exec("nice", *words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    taken_s = time.perf_counter() - started
    size = json.loads((folder / "manifest.json").read_text())["database"]["bytes"]
    shutil.rmtree(folder)
    return taken_s, size


async def measure(binary, gateway, config, folder, per_second):
    latencies, backups = {False: [], True: []}, []
    async with Stubs(gateway.grpc_address) as stubs:

        def create(stubs, _):
            return stubs.call("CreateVerification", CREATE, DEADLINE_S)

        await steady(stubs, create, per_second, 5, Outcome())  # everything is warm
        for number in range(2 * ROUNDS):
            with_backup = number % 2 == 1
            outcome = Outcome()
            load = asyncio.create_task(steady(stubs, create, per_second, ROUND_S, outcome))
            while with_backup and not load.done():
                backups.append(await back_up(binary, config, folder / "backup"))
            await load
            assert outcome.success == 1, outcome.errors()
            latencies[with_backup] += outcome.latencies_s
    return latencies, backups


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verifications", type=int, default=200_000)
    parser.add_argument("--per-second", type=int, default=20)
    options = parser.parse_args()
    binary = find_binary()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = pathlib.Path(name)
        simulate = SimulateProcess(binary, folder, SECRET_ID, SECRET_KEY)
        running.callback(simulate.kill)
        simulate.wait_until_ready()
        config = ServeConfig(folder, simulate.simulator, SECRET_ID, SECRET_KEY, log_level="error")
        gateway = ServeProcess(binary, folder, config)
        running.callback(lambda: gateway.kill())
        gateway.wait_until_ready()
        asyncio.run(one(gateway))
        gateway.terminate()
        assert gateway.exit_code() == 0
        fill(config.data / "gateway.db", options.verifications)
        gateway = ServeProcess(binary, folder, config)
        gateway.wait_until_ready()
        latencies, backups = asyncio.run(measure(binary, gateway, config, folder, options.per_second))
    taken_s = sorted(taken_s for taken_s, _ in backups)
    print(f"{options.verifications} verifications, {backups[0][1] / 2**20:.0f} MiB; {options.per_second} creates a second")
    print(f"backups: {len(backups)}, median {taken_s[len(taken_s) // 2]:.1f} s, longest {taken_s[-1]:.1f} s")
    for share in (0.5, 0.99):
        without, beside = (percentile_ms(latencies[which], share) for which in (False, True))
        print(f"create p{100 * share:.0f}: {without:.1f} ms without, {beside:.1f} ms beside: {beside / without:.2f} ×")


async def one(gateway):
    async with Stubs(gateway.grpc_address) as stubs:
        await stubs.call("CreateVerification", CREATE, DEADLINE_S)


if __name__ == "__main__":
    main()
