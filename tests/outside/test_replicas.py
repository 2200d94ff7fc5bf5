"""Three gateways on one PostgreSQL: what fails around them loses nothing and doubles nothing."""

from conftest import SECRET_ID, SECRET_KEY
from processes import SimulateProcess, wait_for
from replicas import QUOTA, Database, Load, Replicas, Watcher, check


def test_failures_around_three_replicas_lose_nothing(run, binary, tmp_path):
    database = Database(tmp_path)
    with run(SimulateProcess, binary, tmp_path / "vendor", SECRET_ID, SECRET_KEY) as simulate:
        simulate.simulator.control("POST", "/quota", {"per_second": QUOTA})
        replicas = Replicas(binary, tmp_path, simulate.simulator, database, (SECRET_ID, SECRET_KEY))
        try:
            for _ in range(3):
                replicas.start()
            with Watcher(replicas) as watcher:
                with Load(replicas, simulate.simulator) as load:
                    for fail in (replicas.kill_one, database.restart_primary, replicas.start, database.promote_standby):
                        goes_on(load)
                        fail()
                    goes_on(load)
                check(load, watcher, replicas, database)
        finally:
            replicas.stop()
            database.stop()


def goes_on(load):
    """Creates are acknowledged: some more than were just under way."""
    before = len(load.acknowledged)
    wait_for("creates after a failure", lambda: load.faults or len(load.acknowledged) > before + 30, timeout_s=60)
