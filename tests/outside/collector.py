"""An OTLP collector: receives what the gateway exports, and keeps it."""

import concurrent.futures
import contextlib
import threading

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that is exported to it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._exports = []
        self.port = None

    @property
    def environment(self):
        """Has a gateway export to here, soon."""
        return {
            "FACEID_GATEWAY__TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def Export(self, request, context):  # noqa: N802, the name is gRPC's
        with self._lock:
            self._exports.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def exports(self):
        """All requests as they came."""
        with self._lock:
            return list(self._exports)

    def spans(self):
        return [
            span
            for request in self.exports()
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]


@contextlib.contextmanager
def running_collector():
    collector = Collector()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None)
