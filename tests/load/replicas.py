"""Three gateways on a PostgreSQL with a standby, under a steady load, while one thing after another fails at random.

    scripts/load replicas [--minutes 5] [--seed 1]

After each failure the load goes on until it is served again. At the end nothing acknowledged may be lost or doubled, every verification is
settled once, a watcher that follows all has seen every event once, and the vendor has refused no call for its quota. Prints a table of
how long creates took, from the first try until they were acknowledged.
"""

import argparse
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from conftest import SECRET_ID, SECRET_KEY  # noqa: E402
from processes import SimulateProcess, find_binary  # noqa: E402
from replicas import QUOTA, Database, Load, Replicas, Watcher, check  # noqa: E402

BETWEEN_FAILURES_S = 15


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--minutes", type=float, default=5)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    chance, binary = random.Random(arguments.seed), find_binary()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)  # PostgreSQL's user passes through it
        database = Database(folder)
        simulate = SimulateProcess(binary, folder / "vendor", SECRET_ID, SECRET_KEY)
        simulate.wait_until_ready()
        simulate.simulator.control("POST", "/quota", {"per_second": QUOTA})
        replicas = Replicas(binary, folder, simulate.simulator, database, (SECRET_ID, SECRET_KEY))
        try:
            for _ in range(3):
                replicas.start()
            with Watcher(replicas) as watcher:
                with Load(replicas, simulate.simulator) as load:
                    phases = run(load, replicas, database, chance, arguments.minutes * 60)
                check(load, watcher, replicas, database)
            report(load, phases)
        finally:
            replicas.stop()
            simulate.kill()
            database.stop()


def run(load, replicas, database, chance, length_s):
    """When each phase began, and what happened then."""
    until, phases = time.monotonic() + length_s, []
    is_promoted = False
    while True:
        phases.append((time.monotonic(), "quiet"))
        time.sleep(BETWEEN_FAILURES_S)
        if load.faults or time.monotonic() > until:
            return phases
        name, fail = chance.choice([
            ("kill -9 of a replica, and another starts", lambda: (replicas.kill_one(), replicas.start())),
            ("restart of the primary", database.restart_primary),
            ("the primary is gone, the standby is promoted", database.promote_standby),
        ] if not is_promoted else [
            ("kill -9 of a replica, and another starts", lambda: (replicas.kill_one(), replicas.start())),
            ("restart of the primary", database.restart_primary),
        ])
        is_promoted |= "promoted" in name
        phases.append((time.monotonic(), name))
        fail()
        time.sleep(BETWEEN_FAILURES_S)


def report(load, phases):
    print(f"{len(load.acknowledged)} creates acknowledged; answers: {dict(load.codes)}\n")
    print("| in the 15 s and more from | creates | p50 | p99 | longest |\n|---|---|---|---|---|")
    ends = [began for began, _ in phases[1:]] + [float("inf")]
    of_phase = {}
    for (began, name), end in zip(phases, ends, strict=True):
        of_phase.setdefault(name, []).extend(took for at, took in load.latencies_s if began <= at < end)
    for name, taken in of_phase.items():
        taken.sort()
        if taken:
            told = [taken[len(taken) // 2], taken[min(len(taken) - 1, len(taken) * 99 // 100)], taken[-1]]
            print(f"| {name} | {len(taken)} | " + " | ".join(f"{seconds * 1000:.0f} ms" for seconds in told) + " |")


if __name__ == "__main__":
    main()
