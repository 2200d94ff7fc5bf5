"""A rolling restart of two gateways behind a real Envoy that retries nothing: no call of a steady load fails."""

import collections
import threading
import time

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from mesh import MeshProcess
from people import onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess
from reflected import ReflectedClient, StreamReader

CALLERS = 12
# What the chart sets: drain.delaySeconds and drain.timeoutSeconds.
CHART = {"FACEID_GATEWAY__DRAIN__DELAY_S": "5", "FACEID_GATEWAY__DRAIN__TIMEOUT_S": "25"}
SHORT = {"FACEID_GATEWAY__DRAIN__DELAY_S": "2", "FACEID_GATEWAY__DRAIN__TIMEOUT_S": "10"}


class SteadyLoad:
    """Callers that create and read, one call after another, each over its own channel to Envoy; none of them tries twice."""

    def __init__(self, address):
        self._is_over = threading.Event()
        options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.insecure_channel(address, options=options) for _ in range(CALLERS)]
        # One after another: what needs no caller has a small share of Envoy's connection.
        clients = [ReflectedClient(channel) for channel in self._channels]
        self._threads = [threading.Thread(target=self._call, args=[client]) for client in clients]
        self.codes = collections.Counter()
        self.details = []

    def _call(self, client):
        while not self._is_over.is_set():
            try:
                client.create(**onboarding())
                self.codes["OK"] += 1
            except grpc.RpcError as error:
                self.codes[error.code().name] += 1
                self.details.append(error.details())

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for channel in self._channels:
            channel.close()


@pytest.mark.parametrize(("drain", "vendor_ms"), [(SHORT, 0), (SHORT, 800), (CHART, 0)], ids=["short", "slow-vendor", "chart"])
def test_a_rolling_restart_fails_no_call(binary, run, tmp_path, drain, vendor_ms):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        if vendor_ms:
            simulate.simulator.fault("DetectAuth", "delay", times=10_000, ms=vendor_ms)
        folders = [tmp_path / "first", tmp_path / "second"]
        configs = [ServeConfig(folder, simulate.simulator, SECRET_ID, SECRET_KEY) for folder in folders]
        gateways = [ServeProcess(binary, config.folder, config, env=drain) for config in configs]
        try:
            for gateway in gateways:
                gateway.wait_until_ready()
            with run(MeshProcess, tmp_path, [gateway.grpc_address for gateway in gateways]) as mesh:
                with SteadyLoad(mesh.grpc_address) as load:
                    time.sleep(1)
                    for place, config in enumerate(configs):
                        gateways[place].terminate()
                        assert gateways[place].exit_code() == 0
                        gateways[place] = ServeProcess(binary, config.folder, config, env=drain)
                        gateways[place].wait_until_ready()
                        mesh.wait_until("both gateways", mesh.has_only_healthy_upstreams)
                    time.sleep(1)
        finally:
            for gateway in gateways:
                gateway.kill()
    assert load.codes["OK"] > 50
    assert set(load.codes) == {"OK"}, (load.codes, load.details)


def test_a_connection_that_is_too_old_ends_without_a_failed_call(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        env = {"FACEID_GATEWAY__GRPC__MAX_CONNECTION_AGE_S": "1"}
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve:
            with run(MeshProcess, tmp_path, [serve.grpc_address]) as mesh, SteadyLoad(mesh.grpc_address) as load:
                mesh.wait_until("new connections", lambda: mesh.counter("cluster.gateway.upstream_cx_total") >= 4)
    assert load.codes["OK"] > 0
    assert set(load.codes) == {"OK"}, (load.codes, load.details)


def test_a_stream_ends_with_its_place_and_goes_on_after_the_restart(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        with run(ServeProcess, binary, tmp_path, config, env=SHORT) as serve, serve.channel() as channel:
            client = ReflectedClient(channel)
            watched = StreamReader(client.each("WatchVerifications", {}))
            serve.wait_until("the stream to be open", lambda: watched.messages)
            before = client.create(**onboarding()).verification.verification_id
            serve.wait_until("the first event", lambda: watched.events)
            serve.terminate()
            # Still served while it drains, and seen by the stream that is open.
            during = client.create(**onboarding()).verification.verification_id
            assert serve.exit_code() == 0
            watched.join()
        assert watched.code == grpc.StatusCode.UNAVAILABLE
        assert [event.verification_id for event in watched.events] == [before, during]

        with run(ServeProcess, binary, tmp_path, config, env=SHORT) as serve, serve.channel() as channel:
            client = ReflectedClient(channel)
            after = client.create(**onboarding()).verification.verification_id
            resumed = StreamReader(client.each("WatchVerifications", {"resume_token": watched.resume_token}))
            serve.wait_until("what came after", lambda: resumed.events)
            resumed.cancel()
        assert [event.verification_id for event in resumed.events] == [after]
