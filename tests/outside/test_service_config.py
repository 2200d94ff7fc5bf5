"""The published service config, in a client that knows nothing else of the gateway: gRPC's own, in Python."""

import itertools
import json
import time

import grpc
import pytest
import scripted
from processes import ROOT
from reflected import ReflectedClient, Refusal

CONFIG = (ROOT / "examples/service_config.json").read_text(encoding="utf-8")
# A call's outage ends after this many answers of the vendor: one call of the gateway does not see the end.
TRIES_OF_A_CALL = 4


def client(gateway, *options):
    return grpc.insecure_channel(gateway.process.grpc_address, options=[("grpc.enable_http_proxy", 0), *options])


@pytest.fixture
def gateway(binary, run, tmp_path):
    with scripted.gateway(binary, run, tmp_path) as gateway:
        yield gateway
        assert gateway.vendor.problems == []


@pytest.fixture
def failing(gateway):
    """The vendor fails as often as a call tries, then it works."""
    tries = itertools.count()

    def answer(request):
        if next(tries) < TRIES_OF_A_CALL:
            return {"Error": {"Code": "InternalError", "Message": ""}}
        return gateway.vendor.open_token(request)

    gateway.vendor.script("DetectAuth", answer)


def test_without_it_the_callers_see_the_outage(gateway, failing):
    with client(gateway) as channel, pytest.raises(grpc.RpcError) as refused:
        ReflectedClient(channel).create(flow="bare")
    assert (refused.value.code(), Refusal(refused.value).reason) == (grpc.StatusCode.UNAVAILABLE, "VENDOR_UNAVAILABLE")
    trailers = dict(refused.value.trailing_metadata())
    assert trailers["grpc-retry-pushback-ms"] == "1000"


def test_with_it_the_call_is_made_again_when_the_gateway_says(gateway, failing):
    with client(gateway, ("grpc.service_config", CONFIG)) as channel:
        retrying = ReflectedClient(channel)
        begun = time.monotonic()
        assert retrying.create(flow="bare", request_id="order-1").biz_token
    # Not the 0.2 s of the config: the trailer counts. No upper end, the machine may be busy.
    assert time.monotonic() - begun >= 1


def test_every_method_that_it_names_is_there(gateway):
    for entry in json.loads(CONFIG)["methodConfig"]:
        for name in entry["name"]:
            service = gateway.service(name["service"].removeprefix("faceid.v1."))
            assert name.get("method") in {None, *service.descriptor.methods_by_name}, name
