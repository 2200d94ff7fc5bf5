"""The process: how it starts, how it ends, and what it has not forgotten when it comes back."""

import re
import signal
import subprocess
import time
import uuid

import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import onboarding
from processes import DevProcess, ServeConfig, ServeProcess, SimulateProcess, free_ports
from reflected import VERIFICATION_SERVICE, ReflectedClient, state_of

DELAY_MS = 1500


def faults_left(simulator):
    return simulator.control("GET", "/state")["faults"]


def test_sigterm_lets_calls_in_flight_finish(serve):
    serve.simulator.fault("DetectAuth", "delay", ms=DELAY_MS)
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        call = client.start("CreateVerification", onboarding())
        serve.wait_until("the call to reach the vendor", lambda: not faults_left(serve.simulator))
        started = time.monotonic()
        serve.terminate()

        serve.wait_until("the gateway to stop taking calls", lambda: serve.health(VERIFICATION_SERVICE) != "SERVING")
        assert not call.done(), "the call is still in flight: the gateway has not waited for it"
        created = call.result()
        assert state_of(created.verification) == "PENDING" and created.biz_token
    assert serve.exit_code() == 0
    assert time.monotonic() - started < DELAY_MS / 1000 + 10


def test_a_drain_says_not_serving_and_serves_on_for_its_delay(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        env = {"FACEID_GATEWAY__DRAIN__DELAY_S": "3"}
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve, serve.channel() as channel:
            started = time.monotonic()
            serve.terminate()
            serve.wait_until("NOT_SERVING", lambda: serve.health(VERIFICATION_SERVICE) == "NOT_SERVING")
            assert serve.http.get(f"{serve.admin_url}/readyz", timeout=2).status_code == 503
            # By this connection, and by a new one of a client that has not heard of it yet.
            assert ReflectedClient(channel).create(**onboarding()).biz_token
            with serve.channel() as another:
                assert ReflectedClient(another).create(**onboarding()).biz_token
            assert time.monotonic() - started < 3, "too slow a machine for this test to tell anything"
            assert serve.exit_code() == 0
            assert time.monotonic() - started >= 3


def test_a_drain_cuts_off_what_takes_longer_than_its_timeout(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        env = {"FACEID_GATEWAY__DRAIN__TIMEOUT_S": "1"}
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve, serve.channel() as channel:
            simulate.simulator.fault("DetectAuth", "delay", ms=4000)
            ReflectedClient(channel).start("CreateVerification", onboarding())
            serve.wait_until("the call to reach the vendor", lambda: not faults_left(simulate.simulator))
            started = time.monotonic()
            serve.terminate()
            assert serve.exit_code() == 1
            assert time.monotonic() - started < 3.5
            assert "work that had begun was not done after 1 s and is cut off (drain.timeout_s)" in serve.log_text()


def test_a_caller_that_hangs_up_does_not_lose_the_token(serve):
    serve.simulator.fault("DetectAuth", "delay", ms=DELAY_MS)
    request = onboarding(request_id=str(uuid.uuid4()))
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        call = client.start("CreateVerification", request)
        serve.wait_until("the call to reach the vendor", lambda: not faults_left(serve.simulator))
        assert call.cancel(), "the answer came before the caller hung up"

        (token,) = serve.wait_until("the vendor's answer", lambda: serve.simulator.control("GET", "/tokens"))
        assert client.create(**request).biz_token == token["biz_token"]


def test_sigterm_of_an_idle_gateway_ends_it_at_once(serve):
    started = time.monotonic()
    serve.terminate()
    assert serve.exit_code() == 0
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("process", ["serve", "dev"])
def test_second_signal_is_no_accident(process, request):
    """Twice Ctrl-C, as people do: it still ends, and soon."""
    process = request.getfixturevalue("serve") if process == "serve" else request.getfixturevalue("own_dev")
    process.terminate()
    process.terminate()
    assert process.exit_code(10) is not None


@pytest.fixture
def own_dev(binary, run, tmp_path):
    with run(DevProcess, binary, tmp_path) as dev:
        yield dev


def test_sigkill_after_an_acknowledged_create_loses_nothing(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        request = onboarding(request_id=str(uuid.uuid4()), reference="survives")

        with run(ServeProcess, binary, tmp_path, config) as serve, serve.channel() as channel:
            created = ReflectedClient(channel).create(**request)
            serve.kill()

        redirect = simulate.simulator.attempt(created.biz_token, 0)["redirect_url"]
        assert not redirect, "no pages were given, so the vendor shows its own"

        with run(ServeProcess, binary, tmp_path, config) as serve, serve.channel() as channel:
            client = ReflectedClient(channel)
            again = client.create(**request)
            assert again.SerializeToString() == created.SerializeToString(), "the same request_id, the same answer"
            found = client.result(created, fresh=True)
            assert state_of(found.verification) == "PASSED"
            assert found.verification.reference == "survives"


def test_dev_once_walks_and_exits(binary, tmp_path):
    ports = [f"127.0.0.1:{port}" for port in free_ports(5)]
    names = ("--grpc-listen", "--http-listen", "--admin-listen", "--simulator-listen", "--control-listen")
    listen = zip(names, ports, strict=True)
    args = [word for pair in listen for word in pair]
    for run_number in ("first", "second, on the same data"):
        done = subprocess.run(
            [binary, "dev", "--once", "--data-dir", tmp_path / "data", *args],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{run_number} run: {done.stdout}{done.stderr}"
        assert steps_of(done.stdout) == [
            *["created", "user sent to", "redirected 0", "settled PASSED"] * 2,
            *["created", "user sent to", "redirected 2016", "stays PENDING with last_attempt 2016", "redirected 0", "settled PASSED"],
        ], done.stdout


def steps_of(walk):
    """What `dev` prints of each step, without ids and addresses."""
    steps = r"^  (created|user sent to|settled PASSED|stays PENDING with last_attempt \d+|redirected +after code \d+(?=: 303))"
    return [re.sub(" +after code", "", step) for step in re.findall(steps, walk, re.MULTILINE)]


@pytest.mark.parametrize("command", ["simulate", "dev"])
def test_the_simulator_is_for_this_machine_unless_told(binary, tmp_path, command):
    for option in ("--control-listen", "--listen" if command == "simulate" else "--simulator-listen"):
        args = [binary, command, option, "0.0.0.0:0"]
        done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode not in (0, 101), done.stdout
        assert "--allow-remote" in done.stderr


def test_a_simulator_makes_up_its_keys_and_logs_none(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, None, None, env={"RUST_LOG": "trace"}) as simulate:
        # They are printed after the ports are open.
        simulate.wait_until("its keys", lambda: re.search(r"^SecretKey +\S+$", simulate.log_text(), re.MULTILINE))
        told = {name: re.search(rf"^{name} +(\S+)$", simulate.log_text(), re.MULTILINE)[1] for name in ("SecretId", "SecretKey")}
        config = ServeConfig(tmp_path, simulate.simulator, told["SecretId"], told["SecretKey"])
        with run(ServeProcess, binary, tmp_path, config) as serve, serve.channel() as channel:
            assert state_of(ReflectedClient(channel).create(**onboarding()).verification) == "PENDING"
        assert simulate.log_text().count(told["SecretKey"]) == 1, "once, for whoever started it"


def test_wrong_configuration_names_every_fault(binary, tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text(
        """\
[grpc]
listen = "not an address"
[tencent]
endpoint = "http://faceid.example.com"
[auth]
mode = "none"
[log]
shade = "dark"
"""
    )
    done = subprocess.run([binary, "serve", "--config", config], capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, 101), done.stderr
    for key in ("grpc.listen", "tencent.endpoint", "log.shade"):
        assert key in done.stderr
    assert "panicked" not in done.stderr


def test_no_vault_keys_no_start(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        (tmp_path / "vault.keys").write_text("")
        done = subprocess.run([binary, "serve", "--config", config.file], capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, 101)
    assert "vault" in done.stderr
    assert not (config.data / "gateway.db").exists()


def test_sighup_takes_the_configuration_anew(binary, run, tmp_path):
    """At once, what can be taken; what waits for a restart is named, and a fault changes nothing."""
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        with run(ServeProcess, binary, tmp_path, config) as serve:

            def metric(name):
                lines = serve.http.get(f"{serve.admin_url}/metrics").text.splitlines()
                return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)

            def take(text):
                config.file.write_text(text)
                serve.popen.send_signal(signal.SIGHUP)

            text = config.file.read_text()
            assert 'level = "info"' in text
            take(text.replace('level = "info"', 'level = "debug"') + "\n[drain]\ntimeout_s = 7\n")
            serve.wait_until("the restart to be asked for", lambda: metric("faceid_config_settings_waiting_for_restart"))
            assert metric("faceid_config_settings_waiting_for_restart") == 1
            assert metric("faceid_config_reload_failed") == 0
            assert '"settings":"drain.timeout_s"' in serve.log_text()
            with serve.channel() as channel:
                ReflectedClient(channel).refusal("CreateVerification", onboarding(flow="none"))
            serve.wait_until("the refusal, of level debug", lambda: '"message":"call refused"' in serve.log_text())

            take(text.replace('rule_id = "1"', 'rule_id = ""'))
            serve.wait_until("the fault", lambda: metric("faceid_config_reload_failed"))
            assert "the one from before stays" in serve.log_text()
            with serve.channel() as channel:
                assert ReflectedClient(channel).create(**onboarding()).biz_token

            take(text)
            serve.wait_until("the fault to be over", lambda: metric("faceid_config_reload_failed") == 0)
            assert metric("faceid_config_settings_waiting_for_restart") == 0
            serve.terminate()
            assert serve.exit_code() == 0
