"""Traces, as an OTLP collector receives them: one span for each RPC, which continues the caller's trace, and one for each call
to the vendor, with the vendor's request id."""

import secrets

import pytest
from collector import running_collector
from conftest import SECRET_ID, SECRET_KEY
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

            spans = wait_for("two spans of the trace", lambda: len(found := of_the_trace()) >= 2 and found)

    rpc = next(span for span in spans if span.name == "faceid.v1.VerificationService/CreateVerification")
    vendor = next(span for span in spans if span.name == "DetectAuth")
    assert rpc.parent_span_id == parent_id
    assert vendor.parent_span_id == rpc.span_id
    assert attributes(rpc)["rpc.method"] == "CreateVerification"
    assert attributes(vendor)["vendor_request_id"]
    assert attributes(vendor)["code"] == "ok"
