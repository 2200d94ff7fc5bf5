"""Open-loop load: calls start at a steady rate, however long the earlier ones take. So a slow answer is not hidden by fewer calls."""

import asyncio
import base64
import collections
import sys
import time
import pathlib

import grpc
from google.protobuf import json_format, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from people import jpeg  # noqa: E402
from reflected import ReflectedClient  # noqa: E402

# Without an ID number: the limits of one person are not what is measured.
CREATE = {"flow": "photo", "reference_photo": base64.b64encode(jpeg(b"load")).decode()}


class Stubs:
    """CreateVerification and GetResult over asyncio, from the server's own descriptors."""

    def __init__(self, address):
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            self._methods = ReflectedClient(channel).descriptor.methods_by_name
        self._address = address

    async def __aenter__(self):
        # Each with a connection of its own: one alone is limited to some hundred calls at a time.
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(self._address, options=options) for _ in range(32)]
        self._next = 0
        return self

    async def __aexit__(self, *_):
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def call(self, method, request, deadline_s, metadata=None):
        descriptor = self._methods[method]
        message = json_format.ParseDict(request, message_factory.GetMessageClass(descriptor.input_type)())
        self._next += 1
        stub = self._channels[self._next % len(self._channels)].unary_unary(
            f"/faceid.v1.VerificationService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(descriptor.output_type).FromString,
        )
        return await stub(message, timeout=deadline_s, metadata=metadata)


class Outcome:
    """How long each call took, and what its caller saw."""

    def __init__(self):
        self.seen = collections.Counter()
        self.latencies_s = []
        self.failed_at_s = []  # when each call began that did not succeed
        self.late_s = []  # how much later than planned each call began, for want of a processor

    async def of(self, call):
        """Awaits a call and notes what came of it; answers with its answer, if it has one."""
        started = time.perf_counter()
        try:
            answer = await call
            self.seen["OK"] += 1
            return answer
        except grpc.aio.AioRpcError as error:
            self.seen[name_of(error)] += 1
            self.failed_at_s.append(started)
            return None
        finally:
            self.latencies_s.append(time.perf_counter() - started)

    @property
    def calls(self):
        return sum(self.seen.values())

    @property
    def success(self):
        return self.seen["OK"] / max(1, self.calls)

    def percentile_ms(self, share):
        return percentile_ms(self.latencies_s, share)

    def errors(self):
        """What callers saw instead of OK, the most frequent first."""
        return [f"{name} {count}" for name, count in self.seen.most_common() if name != "OK"]


def percentile_ms(durations_s, share):
    ordered = sorted(durations_s)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def name_of(error):
    """`UNAVAILABLE/VENDOR_UNAVAILABLE`: the code, and the reason if the gateway gave one."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return f"{error.code().name}/{info.reason}"
    return error.code().name


async def steady(stubs, make_call, per_second, seconds, outcome):
    """Starts `per_second` calls a second for `seconds`, and waits for the last."""
    started = time.perf_counter()
    tasks = []
    for i in range(int(per_second * seconds)):
        await asyncio.sleep(max(0, started + i / per_second - time.perf_counter()))
        outcome.late_s.append(time.perf_counter() - started - i / per_second)
        tasks.append(asyncio.create_task(outcome.of(make_call(stubs, i))))
    return await asyncio.gather(*tasks)
