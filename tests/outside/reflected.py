"""A gRPC client that knows nothing of the contract: it learns it from the server's reflection."""

import threading

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

VERIFICATION_SERVICE = "faceid.v1.VerificationService"
CALL_TIMEOUT_S = 20

_DETAILS = [
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.LocalizedMessage,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.RequestInfo,
    error_details_pb2.RetryInfo,
]


class StreamReader:
    """Reads a stream of WatchVerifications in the background: its events, its last resume token, and the status it ended with."""

    def __init__(self, stream):
        self.messages, self.code = [], None
        self._stream = stream
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            self.messages.extend(self._stream)
            self.code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.code = error.code()

    @property
    def events(self):
        return [message.event for message in self.messages if message.HasField("event")]

    @property
    def resume_token(self):
        return self.messages[-1].resume_token

    def join(self):
        self._thread.join()

    def cancel(self):
        self._stream.cancel()
        self.join()


class ReflectedClient:
    """Calls the methods of one service; requests and answers are messages built from the server's own descriptors."""

    def __init__(self, channel, service=VERIFICATION_SERVICE):
        self._channel = channel
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.descriptor = pool.FindServiceByName(service)

    def call(self, method, request, timeout=CALL_TIMEOUT_S, metadata=None):
        """Calls with a request as JSON in a dict; answers with the message."""
        return self._stub(method)(self._message(method, request), timeout=timeout, metadata=metadata)

    def start(self, method, request, timeout=CALL_TIMEOUT_S, metadata=None):
        """The same, without waiting: answers with a future."""
        return self._stub(method).future(self._message(method, request), timeout=timeout, metadata=metadata)

    def stream(self, method, request, timeout=CALL_TIMEOUT_S):
        """All messages of a server's stream."""
        return list(self.each(method, request, timeout))

    def each(self, method, request, timeout=None):
        """The messages of a server's stream, as they come."""
        descriptor = self.descriptor.methods_by_name[method]
        answer = message_factory.GetMessageClass(descriptor.output_type)
        call = self._channel.unary_stream(
            f"/{self.descriptor.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(self._message(method, request), timeout=timeout)

    def refusal(self, method, request, metadata=None):
        """Calls what must be refused; answers with the error."""
        try:
            answer = self.call(method, request, metadata=metadata)
        except grpc.RpcError as error:
            return Refusal(error)
        raise AssertionError(f"{method} was not refused: {answer}")

    def create(self, **request):
        return self.call("CreateVerification", request)

    def result(self, created, **request):
        return self.call("GetResult", {"verification_id": created.verification.verification_id} | request)

    def _message(self, method, request):
        message = message_factory.GetMessageClass(self.descriptor.methods_by_name[method].input_type)()
        return json_format.ParseDict(request, message)

    def _stub(self, method):
        descriptor = self.descriptor.methods_by_name[method]
        answer = message_factory.GetMessageClass(descriptor.output_type)
        return self._channel.unary_unary(
            f"/{self.descriptor.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )


class Refusal:
    """A gRPC error with its google.rpc details."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        self.details = {}
        status = rpc_status.from_call(error)
        for packed in status.details if status else []:
            kind = next((kind for kind in _DETAILS if packed.Is(kind.DESCRIPTOR)), None)
            assert kind, f"a detail that is not of google.rpc: {packed.type_url}"
            assert kind.__name__ not in self.details, f"two details of one kind: {packed.type_url}"
            self.details[kind.__name__] = detail = kind()
            packed.Unpack(detail)

    @property
    def reason(self):
        return self.details["ErrorInfo"].reason

    @property
    def bad_fields(self):
        return {violation.field: violation.description for violation in self.details["BadRequest"].field_violations}


def name_of(message, field):
    """The name of the value that an enum field of a message has."""
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def state_of(verification):
    return name_of(verification, "state").removeprefix("VERIFICATION_STATE_")
