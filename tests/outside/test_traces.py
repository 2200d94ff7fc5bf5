"""Traces, as an OTLP collector receives them: one span for each RPC, which continues the caller's trace, and one for each call
to the vendor, with the vendor's request id."""

import concurrent.futures
import secrets
import threading

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from people import onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess, wait_for
from reflected import ReflectedClient


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that is exported to it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._spans = []

    def Export(self, request, context):  # noqa: N802, the name is gRPC's
        with self._lock:
            for of_resource in request.resource_spans:
                for of_scope in of_resource.scope_spans:
                    self._spans.extend(of_scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id):
        with self._lock:
            return [span for span in self._spans if span.trace_id == trace_id]


@pytest.fixture
def collector():
    collector = Collector()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector
    server.stop(None)


def attributes(span):
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@pytest.mark.parametrize("log_level", ["info", "error"])
def test_spans_continue_the_callers_trace(binary, run, tmp_path, collector, log_level):
    trace_id, parent_id = secrets.token_bytes(16), secrets.token_bytes(8)
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY, log_level=log_level)
        env = {
            "FACEID_GATEWAY__TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with run(ServeProcess, binary, tmp_path, config, env=env) as serve, serve.channel() as channel:
            traceparent = f"00-{trace_id.hex()}-{parent_id.hex()}-01"
            ReflectedClient(channel).call("CreateVerification", onboarding(), metadata=[("traceparent", traceparent)])
            spans = wait_for("two spans of the trace", lambda: len(found := collector.spans(trace_id)) >= 2 and found)

    rpc = next(span for span in spans if span.name == "faceid.v1.VerificationService/CreateVerification")
    vendor = next(span for span in spans if span.name == "DetectAuth")
    assert rpc.parent_span_id == parent_id
    assert vendor.parent_span_id == rpc.span_id
    assert attributes(rpc)["rpc.method"] == "CreateVerification"
    assert attributes(vendor)["vendor_request_id"]
    assert attributes(vendor)["code"] == "ok"
