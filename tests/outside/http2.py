"""HTTP/2 frame by frame (RFC 9113), for clients that do what no library would: leave messages unfinished, read nothing."""

import select
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
DEFAULT_WINDOW = 65_535
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(**values):
    ids = {"initial_window_size": INITIAL_WINDOW_SIZE, "max_concurrent_streams": MAX_CONCURRENT_STREAMS}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", ids[name], value) for name, value in values.items()))


def _text(text):
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, more = len(data) - 127, b""
    while rest >= 128:
        more += bytes([rest % 128 + 128])
        rest //= 128
    return b"\x7f" + more + bytes([rest]) + data


def header_block(path, headers=(), content_type="application/grpc"):
    """Every field as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "gateway"), ("te", "trailers")]
    fields += [("content-type", content_type)] if content_type else []
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in [*fields, *headers])


def message(body, compressed=False):
    return struct.pack("!BI", compressed, len(body)) + body


class Connection:
    """One connection. Reads only when it is told to, and keeps what flow control allows."""

    def __init__(self, address, source="127.0.0.1", **peer_settings):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))
        self.window, self.initial_window = DEFAULT_WINDOW, DEFAULT_WINDOW
        self.stream_windows, self.ended, self.max_streams = {}, {}, None
        self.next_stream, self.is_open, self._rest = 1, True, b""
        self._unsent = PREFACE + settings(**peer_settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def open(self, path, headers=(), end=False, **more):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.stream_windows[stream] = self.initial_window
        flags = END_HEADERS | (END_STREAM if end else 0)
        self._unsent += frame(HEADERS, flags, stream, header_block(path, headers, **more))
        return stream

    def send(self, stream, data, end=False):
        """Sends as much as flow control allows; says how much."""
        length = max(0, min(len(data), self.window, self.stream_windows.get(stream, 0)))
        for at in range(0, length, 16_384):
            part = data[at : min(at + 16_384, length)]
            is_last = end and at + len(part) == len(data)
            self._unsent += frame(DATA, END_STREAM if is_last else 0, stream, part)
        if not data and end:
            self._unsent += frame(DATA, END_STREAM, stream)
        self.window -= length
        self.stream_windows[stream] = self.stream_windows.get(stream, 0) - length
        return length

    def reset(self, stream):
        """Takes a stream back: CANCEL."""
        self._unsent += frame(RST_STREAM, 0, stream, struct.pack("!I", 8))
        self.stream_windows.pop(stream, None)

    def pump(self, seconds=0.0, read=True):
        """Sends what waits, and reads what comes, until nothing does for `seconds`."""
        deadline = time.monotonic() + seconds
        while self.is_open:
            readable, writable, _ = select.select(
                [self.socket] if read else [], [self.socket] if self._unsent else [], [], max(0, deadline - time.monotonic())
            )
            if not readable and not writable:
                return
            try:
                if writable:
                    self._unsent = self._unsent[self.socket.send(self._unsent[: 1 << 20]) :]
                if readable:
                    self._take(self.socket.recv(1 << 20))
            except OSError:
                self.is_open = False

    def _take(self, data):
        self.is_open = bool(data)
        self._rest += data
        while len(self._rest) >= 9:
            length = int.from_bytes(self._rest[:3])
            if len(self._rest) < 9 + length:
                return
            kind, flags, stream = struct.unpack("!BBI", self._rest[3:9])
            payload, self._rest = self._rest[9 : 9 + length], self._rest[9 + length :]
            self._frame(kind, flags, stream, payload)

    def _frame(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for identifier, value in struct.iter_unpack("!HI", payload):
                if identifier == INITIAL_WINDOW_SIZE:
                    change, self.initial_window = value - self.initial_window, value
                    self.stream_windows = {stream: window + change for stream, window in self.stream_windows.items()}
                elif identifier == MAX_CONCURRENT_STREAMS:
                    self.max_streams = value
            self._unsent += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self._unsent += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack("!I", payload)
            if stream == 0:
                self.window += more
            elif stream in self.stream_windows:
                self.stream_windows[stream] += more
        elif kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended[stream] = "reset" if kind == RST_STREAM else "answered"
            self.stream_windows.pop(stream, None)
