"""TLS byte by byte: records in pieces, cut off, changed and repeated; clients that leave the handshake
at any byte; and what a client learns without TLS."""

import contextlib
import os
import socket
import ssl
import struct
import time

import pytest

from support.compare import eventually, falls_to, noise, same_bytes
from support.tls import ByHand, Pki, begun, by_hand, context
from support.wire import EXPORT_NAME, FLUSH, GO, INFO, LIST, NEEDS_TLS, WRITE, text

MIB = 1 << 20
LIMIT = 128 << 10


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def allowed(server, pki):
    return server("--tcp", "127.0.0.1:0", "--tls-verify-client", *pki.options, create=("data=64M", "other=1M"))


def request(offset, data):
    return struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 7, offset, len(data)) + data


def drain(raw):
    """Ends the client's side, and reads up to the server's end. The raw socket's timeout is the
    deadline."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError, OSError):
        raw.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionResetError):
        while raw.recv(1 << 16):
            pass
    raw.close()


def threads(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


@pytest.mark.parametrize("piece, record", [(1, 16 << 10), (1 << 20, 1), (7, 333), (5, 16 << 10), (16411, 16 << 10)])
def test_pieces_of_every_size(allowed, pki, piece, record):
    wire, _ = by_hand(allowed, pki, piece=piece, record=record)
    data = noise(5000 if min(piece, record) == 1 else 300_000)
    wire.write(12345, data)
    same_bytes(wire.read(12345, len(data)), data, "what the client reads")
    same_bytes(allowed.go("data").read(12345, len(data)), data, "what others read")


def test_many_requests_in_one_record_and_one_over_many(allowed, pki):
    wire, hand = by_hand(allowed, pki)
    pages = noise(3 * 4096)
    first = b"".join(request(at, pages[at:at + 4096]) for at in range(0, len(pages), 4096))
    # The first record ends within the head of the last request.
    cut = len(first) - 4096 - 11
    hand.put(hand.encrypt(first[:cut]) + hand.encrypt(first[cut:]))
    for _ in range(3):
        assert wire.reply().error == 0
    same_bytes(wire.read(0, len(pages)), pages, "three pages")


@pytest.mark.parametrize("cut", [3, 5, 50])
def test_a_pause_within_a_record(allowed, pki, cut):
    """The server gives an idle connection's buffers back after a second, but not half a record."""
    wire, hand = by_hand(allowed, pki)
    first, record = hand.encrypt(request(4096, b"whole")), hand.encrypt(request(0, b"late" * 50))
    # The first request is answered although the second one is not whole.
    hand.put(first + record[:cut])
    assert wire.reply().error == 0
    time.sleep(2.5)
    hand.put(record[cut:])
    assert wire.reply().error == 0
    same_bytes(allowed.go("data").read(0, 200), b"late" * 50, "what came late")


def test_idle_clients_are_cheap(allowed, pki, figure):
    """Those without TLS cost less than 64 KiB (test_idle.py). A session has its keys and records."""
    by_hand(allowed, pki)[0].read(0, MIB)
    before, count = allowed.resident(), 200
    clients = [by_hand(allowed, pki)[0] for _ in range(count)]
    for wire in clients:
        wire.read(0, MIB)
    each, _ = falls_to(LIMIT, lambda: (allowed.resident() - before) / count, "bytes a client")
    figure(f"{each / 1024:.1f} KiB of resident memory for each idle client")
    for wire in clients:
        assert wire.read(0, 4) == bytes(4)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_gone_at_every_byte_of_the_handshake(allowed, pki, how):
    def leave(raw):
        if how == "reset":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()

    wire = begun(allowed)
    lengths = []
    hand = ByHand(wire, context(pki.alice))
    for flight in hand.flights():
        lengths.append(len(flight))
        hand.put(flight)
    wire.close()
    eventually(lambda: allowed.disk("data")["connections"] == 0, "nobody is connected")
    before = threads(allowed)
    assert len(lengths) >= 2, "a hello, and then a certificate"
    for number, length in enumerate(lengths):
        # The server works for each cut of a later part.
        for cut in range(0, length, 1 if number == 0 else 23):
            wire = begun(allowed)
            hand = ByHand(wire, context(pki.alice))
            for index, flight in enumerate(hand.flights()):
                if index == number:
                    hand.put(flight[:cut])
                    break
                hand.put(flight)
            leave(wire.socket)
    eventually(lambda: threads(allowed) <= before, "each connection's thread is gone")
    by_hand(allowed, pki)[0].write(0, b"goes on")


def test_a_request_that_is_cut_off_is_not_done(allowed, pki):
    plain = allowed.go("data")
    wire, hand = by_hand(allowed, pki)
    whole = len(hand.encrypt(request(MIB, b"x" * 100)))
    drain(hand.socket)
    for cut in range(0, whole, 3):
        wire, hand = by_hand(allowed, pki)
        hand.put(hand.encrypt(request(MIB, b"x" * 100))[:cut])
        drain(hand.socket)
    assert plain.read(MIB, 100) == bytes(100)
    eventually(lambda: allowed.disk("data")["connections"] == 1, "only the plain client is left")


def test_a_record_that_was_changed_on_the_way_ends_the_connection(allowed, pki):
    plain = allowed.go("data")
    wire, hand = by_hand(allowed, pki)
    whole = len(hand.encrypt(request(MIB, b"x" * 100)))
    drain(hand.socket)
    for at in [*range(5), *range(5, whole, 11), whole - 1]:
        wire, hand = by_hand(allowed, pki)
        record = bytearray(hand.encrypt(request(MIB, b"x" * 100)))
        record[at] ^= 0x10
        hand.put(record)
        drain(hand.socket)
        # The version in a record's head means nothing in TLS 1.3, so that of bytes 1 and 2 may pass.
        if at not in (1, 2):
            assert plain.read(MIB, 100) == bytes(100), f"byte {at} was changed"


def test_a_record_that_is_repeated_ends_the_connection(allowed, pki):
    wire, hand = by_hand(allowed, pki)
    record = hand.encrypt(request(0, b"once"))
    hand.put(record)
    assert wire.reply().error == 0
    allowed.go("data").write(0, b"else")
    hand.put(record)
    drain(hand.socket)
    assert allowed.go("data").read(0, 4) == b"else"


def test_a_request_without_tls_within_a_connection_with_tls(allowed, pki):
    wire, hand = by_hand(allowed, pki)
    hand.put(request(0, b"plain"))
    drain(hand.socket)
    assert allowed.go("data").read(0, 5) == bytes(5)


def test_close_notify_ends_the_connection(allowed, pki):
    wire, hand = by_hand(allowed, pki)
    with contextlib.suppress(ssl.SSLWantReadError):
        hand.tls.unwrap()
    hand.put(hand.outgoing.read())
    # The client leaves its socket open.
    assert hand.recv(1) == b""
    eventually(lambda: allowed.disk("data")["connections"] == 0, "nobody is connected")


def test_a_flush_over_tls_is_seen_without_it_and_the_other_way_round(allowed, pki):
    secure, _ = by_hand(allowed, pki)
    plain = allowed.go("data")
    for number in range(50):
        for one, other in ((secure, plain), (plain, secure)):
            data = noise(8192, number)
            one.write(number * 4096, data)
            assert one.error(FLUSH) == 0
            same_bytes(other.read(number * 4096, 8192), data, "what was flushed")


def test_where_tls_is_required_a_client_without_it_learns_and_makes_nothing(server, pki):
    server = server("--tcp", "127.0.0.1:0", "--tls", "required", *pki.options, create="data=1M")
    wire = server.wire(transport="tcp")
    answers = set()
    for name in ("data", "nosuch", "data@fork", "data@", "", "x" * 5000):
        for code in (INFO, GO):
            answers.add(tuple(wire.option(code, text(name) + b"\0\0")))
    answers.add(tuple(wire.option(LIST)))
    assert len(answers) == 1, "the same answer, whatever is asked"
    assert answers.pop()[-1][0] == NEEDS_TLS
    wire.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 9) + b"data@fork")
    assert wire.is_closed()
    assert server.names() == ["data"]


def test_a_fork_by_connecting_over_tls(allowed, pki):
    allowed.go("data").write(0, b"golden")
    wire, _ = by_hand(allowed, pki, "data@job")
    assert wire.read(0, 6) == b"golden"
    wire.write(0, b"forked")
    assert allowed.go("data").read(0, 6) == b"golden" and allowed.go("data@job").read(0, 6) == b"forked"


def test_handshakes_that_do_not_end_keep_no_client_out(server, pki):
    server = server("--tcp", "127.0.0.1:0", "--max-connections", "4", "--negotiation-timeout", "0", *pki.options,
                    create="data=1M")
    waiting = [begun(server) for _ in range(8)]
    for wire in waiting[4:]:
        wire.send(b"\x16\x03\x01\x02\x00\x01")
    for _ in range(3):
        by_hand(server, pki)[0].write(0, b"served")
    server.stops_cleanly()
