"""A TLS proxy before the simulator that spoils a share of the connections or calls that go through it.

It stands where a network, a load balancer or a bad day of the vendor would stand, so that the gateway runs as in production: TLS,
keep-alive, a real certificate. Blocking sockets and a thread for each connection: enough for some hundred calls a second.
"""

import datetime
import email.utils
import http.client
import ipaddress
import json
import os
import pathlib
import random
import socket
import ssl
import struct
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HTML = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body>Something is not well.</body></html>"

# What is spoiled before a request can be read: every call gets a connection of its own then, so that each can meet it.
CONNECTION_FAULTS = {"refused", "reset before the request", "TLS failure"}


class FaultyProxy:
    """Listens on a loopback port. `plan` says what goes wrong, and how often."""

    def __init__(self, upstream, folder, seed=1):
        self._upstream = upstream
        self._context = server_context(folder)
        self.ca_file = folder / "ca.pem"
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._fault, self._one_in = None, 1
        self._listener = None
        self.port = None
        self._open()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def plan(self, fault, one_in=1):
        """From now on one in `one_in` meets `fault`; None: all is well."""
        with self._lock:
            self._fault, self._one_in = fault, one_in
        if fault == "refused" and one_in == 1:
            self.close()
        elif self._listener.fileno() < 0:
            self._open()

    def close(self):
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()

    def _open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port or 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _meets(self, kinds=None):
        """The fault that this connection or call meets."""
        with self._lock:
            fault = self._fault
            if fault is None or (fault in CONNECTION_FAULTS) != (kinds is CONNECTION_FAULTS):
                return None
            return fault if self._random.randrange(self._one_in) == 0 else None

    def _serve(self, connection):
        try:
            fault = self._meets(CONNECTION_FAULTS)
            if fault == "TLS failure":
                connection.sendall(b"this is no TLS\r\n")
                return
            if fault == "refused":
                reset(connection)
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(connection, server_side=True) as tls:
                if fault == "reset before the request":
                    reset(tls)
                    return
                self._answer_all(tls)
        except (OSError, ssl.SSLError, http.client.HTTPException):
            pass  # the client has gone, which is its right
        finally:
            connection.close()

    def _answer_all(self, tls):
        upstream = http.client.HTTPConnection(self._upstream, timeout=60)
        stream = tls.makefile("rb")
        served = 0
        while first := stream.read(1):
            # The client believes in this connection; we have just given up on it.
            if served and self._fault == "keep-alive closed on reuse" and self._meets():
                reset(tls)
                return
            line = first + stream.readline()
            headers = http.client.parse_headers(stream)
            body = stream.read(int(headers.get("content-length", 0)))
            served += 1
            if not self._answer(tls, upstream, line.split()[0].decode(), headers, body):
                return

    def _answer(self, tls, upstream, method, headers, body):
        """Whether the connection goes on."""
        fault = self._meets()
        if fault == "reset after the request":
            reset(tls)
            return False
        if fault == "black hole":
            tls.settimeout(120)
            tls.recv(1)  # until the client gives up
            return False
        made_up = made_up_answer(fault)
        if made_up:
            status, kind, content, extra = made_up
        else:
            upstream.request(method, "/", body, {k: v for k, v in headers.items() if k.lower() != "connection"})
            answer = upstream.getresponse()
            status, kind, content, extra = answer.status, answer.getheader("content-type"), answer.read(), {}
            extra["Date"] = answer.getheader("date") or email.utils.formatdate(usegmt=True)
        if fault == "cut JSON":
            content = content[: len(content) // 2]
        close = self._fault in CONNECTION_FAULTS
        head = f"HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        head += "connection: close\r\n\r\n" if close else "\r\n"
        if fault == "reset mid-body":
            tls.sendall(head.encode() + content[: len(content) // 2])
            reset(tls)
            return False
        if fault == "1 byte/s":
            tls.sendall(head.encode())
            for byte in content:
                tls.sendall(bytes([byte]))
                time.sleep(1)
            return True
        tls.sendall(head.encode() + content)
        return not close


def made_up_answer(fault):
    """Status, type, content and headers of an answer that the simulator has no part in."""
    if fault in ("HTTP 500", "HTTP 502", "HTTP 503"):
        return int(fault.removeprefix("HTTP ")), "text/html", HTML, {}
    if fault == "HTML with 200":
        return 200, "text/html", HTML, {}
    codes = {
        "throttle code": ("RequestLimitExceeded", 0),
        "InternalError": ("InternalError", 0),
        "SignatureExpire +10 min": ("AuthFailure.SignatureExpire", 600),
        "SignatureExpire -10 min": ("AuthFailure.SignatureExpire", -600),
    }
    if fault not in codes:
        return None
    code, offset_s = codes[fault]
    error = {"Response": {"Error": {"Code": code, "Message": "made up"}, "RequestId": "made-up-0001"}}
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset_s)
    return 200, "application/json", json.dumps(error).encode(), {"Date": email.utils.format_datetime(now, usegmt=True)}


def reset(connection):
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Not TLS's polite end, and whatever still holds the connection.
    os.close(connection.detach())


def server_context(folder: pathlib.Path):
    """A certificate for 127.0.0.1, and in `folder`/ca.pem the authority that signed it."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, issuer, key, signing_key, extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signing_key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("load test CA", "load test CA", ca_key, ca_key, [x509.BasicConstraints(ca=True, path_length=0)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate("127.0.0.1", "load test CA", key, ca_key, [x509.BasicConstraints(ca=False, path_length=None), names])

    folder.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        leaf.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
