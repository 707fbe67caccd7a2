"""Clients that end after every byte of a handshake or of a request: by closing, by ending only
their side, and with a reset. With TLS, the bytes of the ClientHello count too, and later ones are
those within TLS.

With the other tests, the ways to end take turns, and large payloads end at chosen bytes.
`make storms` tries each way at each place (STORM=1).
"""

import os
import socket
import ssl
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.compare import eventually, same_bytes
from support.tls import Authority, context
from support.wire import (
    BLOCK_STATUS, CACHE, DISC, EXPORT_NAME, EXTENDED, FLUSH, FUA, GO, INFO, LIST, LIST_META, READ,
    SET_META, STARTTLS, STRUCTURED_REPLY, TRIM, WRITE, WRITE_ZEROES, Wire, text)

PAGE, MIB = 4096, 1 << 20
SIZE = 4 * MIB
WHOLE = "STORM" in os.environ
WAYS = ["close", "half", "reset"]


def option(code, payload=b""):
    return b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload


def meta(code):
    return option(code, text("data") + struct.pack(">I", 1) + text("base:allocation"))


FLAGS = struct.pack(">I", 3)
THE_EXPORT = text("data") + struct.pack(">H", 0)
HANDSHAKES = {
    "export name": FLAGS + option(EXPORT_NAME, b"data"),
    "export name with zeros": struct.pack(">I", 1) + option(EXPORT_NAME, b"data"),
    "go": FLAGS + option(GO, THE_EXPORT),
    "info": FLAGS + option(INFO, THE_EXPORT) + option(GO, THE_EXPORT),
    "structured": FLAGS + option(STRUCTURED_REPLY) + option(GO, THE_EXPORT),
    "extended": FLAGS + option(EXTENDED) + option(GO, THE_EXPORT),
    "contexts": FLAGS + option(STRUCTURED_REPLY) + meta(LIST_META) + meta(SET_META) + option(GO, THE_EXPORT),
    "list": FLAGS + option(LIST) + option(LIST),
    "unknown": FLAGS + option(77, b"x" * 40) + option(GO, text("none") + struct.pack(">H", 0)),
    "fork by connecting": FLAGS + option(GO, text("data@") + struct.pack(">H", 0)),
}

# Command, flags, offset, length. The offsets are not those of pages.
AT = MIB + 1000
REQUESTS = {
    "read": (READ, 0, AT, 9000),
    "write": (WRITE, 0, AT, 9000),
    "large write": (WRITE, 0, AT, MIB),
    "write with fua": (WRITE, FUA, AT, 100),
    "flush": (FLUSH, 0, 0, 0),
    "trim": (TRIM, 0, AT, 9000),
    "cache": (CACHE, 0, AT, 9000),
    "zeroes": (WRITE_ZEROES, 0, AT, 9000),
    "block status": (BLOCK_STATUS, 0, AT, 9000),
    "disconnect": (DISC, 0, 0, 0),
}


def end(sock, way):
    """Ends a connection. After the end of only the client's side, the server must close its own."""
    if way == "half":
        sock.shutdown(socket.SHUT_WR)
        try:
            while sock.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
    elif way == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def places(head, length):
    """The numbers of bytes after which a client ends: each of the head, and some of the payload."""
    found = set(range(head + 1))
    edges = [0, 1, 2, 3095, 3096, 3097, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 65_535, 65_536, 262_144, length - 1, length]
    found |= {head + edge for edge in edges if 0 <= edge <= length}
    if WHOLE:
        found |= {head + at + step for at in range(0, length, PAGE) for step in (0, 1, PAGE - 1) if at + step <= length}
    return sorted(found)


def each(counts, kill):
    """Calls kill(COUNT, WAY) for all places, several at a time."""
    if WHOLE:
        tries = [(count, way) for count in counts for way in WAYS]
    else:
        tries = [(count, WAYS[index % 3]) for index, count in enumerate(counts)]
    with ThreadPoolExecutor(8) as pool:
        # list() raises the first failure.
        list(pool.map(lambda one: kill(*one), tries))
    return len(tries)


class Connect:
    """Connections to a server with the disk `data`, by one kind of listener."""

    def __init__(self, server, transport, context):
        self.server, self.transport, self.context = server, transport, context

    def socket(self):
        if self.transport == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(30)
            sock.connect(f"{self.server.directory}/nbd.sock")
            return sock
        host, port = self.server.tcp.rsplit(":", 1)
        return socket.create_connection((host, int(port)), 30)

    def wire(self):
        """The beginning of a negotiation, within TLS if the listener has it."""
        wire = Wire(self.socket())
        return wire.secure(self.context) if self.context else wire


@pytest.fixture(params=["unix", "tcp", "tls"])
def connect(server, request, tmp_path):
    """A listener of another kind is one more parameter."""
    options, made = [], None
    if request.param != "unix":
        options = ["--tcp", "127.0.0.1:0"]
    if request.param == "tls":
        authority = Authority(tmp_path, "authority")
        authority.issue(tmp_path / "server", "server", "localhost")
        options += ["--tls", "required", "--tls-certificates", tmp_path / "server"]
        made = context(tmp_path / "server", client=False)
    return Connect(server(*options, create=f"data={SIZE}"), request.param, made)


def client_hello(context):
    """The first bytes of a client of TLS."""
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()


def nobody_is_connected(server):
    assert server.process.poll() is None, "the server is alive"
    eventually(lambda: server.disk("data")["connections"] == 0, "nobody is connected")


@pytest.mark.deadline(600 if WHOLE else 60)
def test_clients_that_end_at_every_byte_of_a_handshake(connect, figure):
    server, tries = connect.server, 0
    filled = b"\1" * SIZE
    server.go("data").write(0, filled)
    for stream in HANDSHAKES.values():

        def kill(count, way):
            sock = connect.socket()
            sock.sendall(stream[:count])
            end(sock, way)

        def kill_within_tls(count, way):
            wire = connect.wire()
            wire.send(stream[len(FLAGS) :][:count])
            end(wire.socket, way)

        if connect.context:
            tries += each(range(len(stream) - len(FLAGS) + 1), kill_within_tls)
        else:
            tries += each(range(len(stream) + 1), kill)
    if connect.context:
        stream = FLAGS + option(STARTTLS) + client_hello(connect.context)
        tries += each(range(len(stream) + 1), kill)
    for wire in server.wires:
        wire.close()
    nobody_is_connected(server)
    # A fork for one connection goes with it.
    eventually(lambda: server.names() == ["data"], "no fork is left")
    same_bytes(server.go("data").read(0, SIZE), filled)
    figure(f"{tries} clients")


@pytest.mark.parametrize("mode", ["simple", "structured", "extended"])
@pytest.mark.deadline(1200 if WHOLE else 60)
def test_clients_that_end_at_every_byte_of_a_request(connect, mode, figure):
    server, tries = connect.server, 0
    other = server.go("data")
    for name, (command, flags, offset, length) in REQUESTS.items():
        if mode == "simple" and command == BLOCK_STATUS:
            continue
        other.write(0, b"\1" * SIZE)
        payload = b"\2" * length if command == WRITE else b""
        if mode == "extended":
            more = 1 << 5 if payload else 0
            head = struct.pack(">IHHQQQ", 0x21E41C71, flags | more, command, 7, offset, length)
        else:
            head = struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length)
        stream = head + payload

        def kill(count, way):
            wire = connect.wire().go("data", structured=mode != "simple", extended=mode == "extended")
            wire.send(stream[:count])
            end(wire.socket, way)

        tries += each(places(len(head), len(payload)), kill)
        eventually(lambda: server.disk("data")["connections"] == 1, f"{name}: only one is connected")
        got = other.read(0, SIZE)
        changed = length if command in (WRITE, TRIM, WRITE_ZEROES) else 0
        same_bytes(got[:offset], b"\1" * offset, f"{name}: what is before it")
        after = offset + changed
        same_bytes(got[after:], b"\1" * (SIZE - after), f"{name}: what is after it", at=after)
        new = {WRITE: 2, TRIM: 0, WRITE_ZEROES: 0}.get(command, 1)
        assert set(got[offset:after]) <= {1, new}, f"{name}: old bytes or new ones"
    other.close()
    nobody_is_connected(server)
    figure(f"{tries} clients")


@pytest.mark.parametrize("way", WAYS)
def test_a_write_that_was_acknowledged_is_there_after_its_client_ends(connect, way):
    server = connect.server
    for index, length in enumerate([1, 4095, 4096, 4097, 300_000]):
        wire = connect.wire().go("data")
        data = bytes([index + 1]) * length
        wire.write(AT, data)
        end(wire.socket, way)
        same_bytes(server.go("data").read(AT, length), data, at=AT)
    # The next client ends within a write to the pages after it.
    for count in (0, 1, 4096, 100_000):
        wire = connect.wire().go("data")
        wire.request(WRITE, AT + 300_000, 200_000, 0, b"\x99" * count)
        end(wire.socket, way)
        same_bytes(server.go("data").read(AT, 300_000), data, at=AT)
