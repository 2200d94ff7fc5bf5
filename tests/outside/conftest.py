"""Fixtures: real processes on loopback. The log of every process that a failed test used ends its report.

After one `scripts/test outside`, a single test runs with `cargo build && .venv/bin/pytest tests/outside -k NAME`.
"""

import contextlib

import pytest
from processes import DevProcess, ServeConfig, ServeProcess, SimulateProcess, find_binary

LOG_TAIL_LINES = 60

# Everything here is invented.
SECRET_ID = "invented-secret-id-of-nobody"
SECRET_KEY = "invented-secret-key-of-nobody"

# Living processes, and those that ended during the current test.
_processes = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def binary():
    path = find_binary()
    assert path.is_file(), f"{path} is missing: cargo build, or set FACEID_GATEWAY_BIN"
    return path


@pytest.fixture(scope="session")
def run(request):
    """Runs a process for the length of a with block: `with run(SimulateProcess, …) as simulate:`."""
    running = request.config.stash.setdefault(_processes, [])

    @contextlib.contextmanager
    def run(kind, *args, **kwargs):
        process = kind(*args, **kwargs)
        running.append(process)
        try:
            process.wait_until_ready()
            yield process
        finally:
            process.kill()

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    running = item.config.stash.setdefault(_processes, [])
    running[:] = [process for process in running if process.popen.poll() is None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        logs = {process.log: process for process in item.config.stash.get(_processes, [])}
        for log, process in logs.items():
            tail = "\n".join(process.log_text().splitlines()[-LOG_TAIL_LINES:])
            report.sections.append((f"{log}, last {LOG_TAIL_LINES} lines", tail))
    return report


@pytest.fixture(scope="module")
def module_folder(request, tmp_path_factory):
    return tmp_path_factory.mktemp(request.module.__name__)


@pytest.fixture(scope="module")
def dev(binary, run, module_folder):
    """`dev`, one for all tests of a module."""
    with run(DevProcess, binary, module_folder) as dev:
        yield dev


@pytest.fixture(scope="module")
def simulate(binary, run, module_folder):
    """`simulate` alone, one for all tests of a module."""
    with run(SimulateProcess, binary, module_folder, SECRET_ID, SECRET_KEY) as simulate:
        yield simulate


@pytest.fixture
def serve(binary, run, tmp_path):
    """`serve` on a simulator of its own, one for each test."""
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        with run(ServeProcess, binary, tmp_path, config) as serve:
            yield serve
