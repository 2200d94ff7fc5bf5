"""Traces, as an OTLP collector receives them: one span for each RPC, which continues the caller's trace, and one for each call
to the vendor, with the vendor's request id."""

import secrets

import pytest
from collector import running_collector
from conftest import SECRET_ID, SECRET_KEY
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from people import onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess, wait_for
from reflected import ReflectedClient


@pytest.fixture
def collector():
    with running_collector() as collector:
        yield collector


def attributes(span):
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@pytest.mark.parametrize("log_level", ["info", "error"])
def test_spans_continue_the_callers_trace(binary, run, tmp_path, collector, log_level):
    trace_id, parent_id = secrets.token_bytes(16), secrets.token_bytes(8)
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY, log_level=log_level)
        with run(ServeProcess, binary, tmp_path, config, env=collector.environment) as serve, serve.channel() as channel:
            traceparent = f"00-{trace_id.hex()}-{parent_id.hex()}-01"
            ReflectedClient(channel).call("CreateVerification", onboarding(), metadata=[("traceparent", traceparent)])

            def of_the_trace():
                return [span for span in collector.spans() if span.trace_id == trace_id]

            names = {"faceid.v1.VerificationService/CreateVerification", "DetectAuth", "create_or_find"}
            wait_for("its spans", lambda: names <= {span.name for span in of_the_trace()})
            spans = of_the_trace()

    rpc = next(span for span in spans if span.name == "faceid.v1.VerificationService/CreateVerification")
    vendor = next(span for span in spans if span.name == "DetectAuth")
    assert rpc.parent_span_id == parent_id
    assert vendor.parent_span_id == rpc.span_id
    assert attributes(rpc)["rpc.method"] == "CreateVerification"
    assert attributes(vendor)["vendor_request_id"]
    assert attributes(vendor)["code"] == "ok"
    assert attributes(vendor)["tries"] == 1
    assert attributes(vendor)["server.address"] == "127.0.0.1"
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}
    stored = next(span for span in spans if span.name == "create_or_find")
    assert attributes(stored)["db.system.name"] == "sqlite"
    ids = {span.span_id for span in spans}
    assert stored.parent_span_id in ids
    # The probes of this test made none.
    assert not [span for span in collector.spans() if "Health" in span.name]
    resource = collector.exports()[0].resource_spans[0].resource
    known = {a.key: a.value.string_value for a in resource.attributes}
    assert known["service.name"] == "faceid-gateway"
    assert known["service.version"]


def test_a_failed_call_and_a_callback_say_so_in_the_callers_trace(binary, run, tmp_path, collector):
    trace_id, parent_id = secrets.token_bytes(16), secrets.token_bytes(8)
    b3 = f"{trace_id.hex()}-{parent_id.hex()}-1"
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        env |= {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_SERVICE_NAME": "our-gateway"}
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve, serve.channel() as channel:
            simulate.simulator.fault("DetectAuth", "http_status", times=100, status=500)
            refused = ReflectedClient(channel).refusal("CreateVerification", onboarding(), metadata=[("b3", b3)])
            assert refused.code.name == "UNAVAILABLE"
            serve.http.get(f"{serve.http_url}/callback?x=1", headers={"x-b3-traceid": trace_id.hex(), "x-b3-spanid": parent_id.hex()})
            names = {"faceid.v1.VerificationService/CreateVerification", "DetectAuth", "GET /callback"}

            def of_the_trace():
                found = {span.name: span for span in collector.spans() if span.trace_id == trace_id}
                return names <= set(found) and found

            spans = wait_for("the spans", of_the_trace)
    rpc, vendor, callback = (spans[name] for name in sorted(names, key=lambda name: ("faceid" not in name, "GET" in name)))
    assert rpc.parent_span_id == callback.parent_span_id == parent_id
    assert rpc.status.code == vendor.status.code == Status.STATUS_CODE_ERROR
    assert attributes(rpc)["error.type"] == "UNAVAILABLE"
    assert attributes(vendor)["error.type"] == attributes(vendor)["code"]
    assert attributes(callback)["http.response.status_code"] == 400
    assert callback.status.code == Status.STATUS_CODE_UNSET
    resource = collector.exports()[0].resource_spans[0].resource
    assert {a.key: a.value.string_value for a in resource.attributes}["service.name"] == "our-gateway"
    exported = "".join(str(request) for request in collector.exports())
    for private in (onboarding()["subject"]["name"], onboarding()["subject"]["id_number"]):
        assert private not in exported
