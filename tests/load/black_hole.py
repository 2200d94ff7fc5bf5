"""The vendor takes connections and never answers, for a minute: GetResult of settled verifications must not notice.

    scripts/load black-hole [--seconds 60]

Meanwhile creates keep coming, so that calls pile up. Prints the ratio of the latencies with and without the black hole, in one run.
"""

import argparse
import asyncio
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from fault_matrix import SECRET_ID, SECRET_KEY, Cell  # noqa: E402
from processes import find_binary  # noqa: E402
from steady_load import CREATE, Outcome, Stubs, steady  # noqa: E402

READS_PER_SECOND = 100
CREATES_PER_SECOND = 20


async def measure(cell, seconds):
    async with Stubs(cell.gateway.grpc_address) as stubs:
        created = [await stubs.call("CreateVerification", CREATE, 10) for _ in range(20)]
        for answer in created:
            cell.simulator.attempt(answer.biz_token, 0)
        ids = [answer.verification.verification_id for answer in created]
        for verification_id in ids:
            await stubs.call("GetResult", {"verification_id": verification_id, "fresh": True}, 10)

        def read(stubs, i):
            return stubs.call("GetResult", {"verification_id": ids[i % len(ids)]}, 10)

        def create(stubs, i):
            return stubs.call("CreateVerification", CREATE, 8)

        async def both(seconds):
            reads, creates = Outcome(), Outcome()
            await asyncio.gather(
                steady(stubs, read, READS_PER_SECOND, seconds, reads),
                steady(stubs, create, CREATES_PER_SECOND, seconds, creates),
            )
            return reads, creates

        await both(3)
        well = await both(seconds / 3)
        cell.break_it(1)
        hole = await both(seconds)
        return well, hole


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cell = Cell(pathlib.Path(folder), find_binary(), "black hole", with_backup=False)
        try:
            well, hole = asyncio.run(measure(cell, options.seconds))
        finally:
            cell.close()
    for name, (reads, creates) in [("vendor well", well), ("black hole", hole)]:
        print(f"{name}: GetResult of settled: {100 * reads.success:.1f} % OK, p50 {reads.percentile_ms(0.5):.1f} ms, p99 {reads.percentile_ms(0.99):.1f} ms")
        print(f"  creates: {100 * creates.success:.1f} % OK; else: {', '.join(creates.errors()) or 'nothing'}")
    ratio = {share: hole[0].percentile_ms(share) / well[0].percentile_ms(share) for share in (0.5, 0.99)}
    print(f"ratio of GetResult, black hole to well: p50 {ratio[0.5]:.2f}, p99 {ratio[0.99]:.2f}")


if __name__ == "__main__":
    main()
