"""Options that libnbd would not send: unknown, oversized, malformed, and in pieces.

After each refusal the same connection must go on.
"""

import struct

import pytest

from support.wire import (
    ACK, EXTENDED, GO, INFO, INVALID, LIST, LIST_META, REP_SERVER, SET_META, STARTTLS,
    STRUCTURED_REPLY, TOO_BIG, UNKNOWN, UNSUP, text)


@pytest.fixture
def wire(server):
    return server(create=("data=1M", "other=2M")).wire()


def option(code, payload):
    return b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload


@pytest.mark.parametrize("code", [0, 4, 12, 99, 1 << 31, (1 << 32) - 1])
def test_an_unknown_option_is_unsupported_and_leaves_the_stream_in_step(wire, code):
    for payload in (b"", b"x", b"IHAVEOPT" * 100):
        assert [kind for kind, _ in wire.option(code, payload)] == [UNSUP]
    wire.go("data")
    wire.write(0, b"in step")
    assert wire.read(0, 7) == b"in step"


@pytest.mark.parametrize("size", [65537, 1 << 20, 20 << 20])
@pytest.mark.parametrize("code", [GO, LIST, 77])
def test_an_oversized_option_is_skipped_to_the_byte(wire, size, code):
    wire.send(b"IHAVEOPT" + struct.pack(">II", code, size))
    left = size
    while left:
        left -= wire.socket.send(b"IHAVEOPT" * 4096 if left >= 32768 else bytes(left))
    assert wire.answers(code)[-1][0] == TOO_BIG
    wire.go("data")
    assert wire.read(0, 4096) == bytes(4096)


def test_list_and_structured_reply_take_no_payload(wire):
    assert wire.status(LIST, b"x") == INVALID
    assert wire.status(STRUCTURED_REPLY, b"x") == INVALID
    wire.go("data")


def test_a_context_before_structured_replies_is_invalid(wire):
    assert wire.meta(SET_META, "data", "base:allocation")[0] == INVALID
    wire.go("data")


@pytest.mark.parametrize("payload", [
    pytest.param(b"", id="no-length"),
    pytest.param(b"\0", id="part-of-a-length"),
    pytest.param(text("data"), id="no-count"),
    pytest.param(text("data") + b"\0\1", id="list-too-short"),
    pytest.param(b"\xff" * 100, id="length-beyond-the-end"),
    pytest.param(text("data") + b"\0\0rest", id="list-too-long"),
    pytest.param(b"\0\0\0\2\xc3\x28\0\0", id="bad-utf-8"),
    pytest.param(b"\0\0\x10\1" + b"a" * 4097 + b"\0\0", id="name-too-long"),
])
def test_a_malformed_go_or_info_is_invalid(wire, payload):
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.status(GO, payload) == INVALID
    assert wire.status(INFO, payload) == INVALID
    wire.structured = True
    wire.go("data", structured=False)


@pytest.mark.parametrize("payload", [
    pytest.param(b"", id="nothing"),
    pytest.param(text("data"), id="no-count"),
    pytest.param(text("data") + b"\xff\xff\xff\xff", id="count-beyond-the-end"),
    pytest.param(text("data") + b"\0\0\0\1", id="query-missing"),
    pytest.param(text("data") + b"\0\0\0\1" + text("base:allocation") + b"x", id="rest"),
])
def test_a_malformed_context_query_is_invalid(wire, payload):
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.status(SET_META, payload) == INVALID
    assert wire.status(LIST_META, payload) == INVALID
    wire.structured = True
    wire.go("data", structured=False)


@pytest.mark.parametrize("name", ["nosuch", "da", "data2", "DATA", "nosuch@", "nosuch@fork"])
def test_a_disk_that_does_not_exist_is_unknown(wire, name):
    assert wire.status(GO, text(name) + b"\0\0") == UNKNOWN
    wire.go("data")


@pytest.mark.parametrize("name", [
    "data@a b", "data@.hidden", "data@x@y", "data@" + "n" * 256, "data@/etc/passwd"],
    ids=["blank", "hidden", "two-signs", "too-long", "path"])
def test_a_fork_with_a_bad_name_is_invalid(wire, name):
    assert wire.status(GO, text(name) + b"\0\0") == INVALID
    wire.go("data")


def test_an_option_may_come_byte_by_byte(wire):
    for byte in option(INFO, text("data") + b"\0\0"):
        wire.send(bytes([byte]))
    assert wire.answers(INFO)[-1][0] == ACK
    wire.go("data")


def test_a_hundred_options_may_come_in_one_piece(wire):
    wire.send(option(LIST, b"") * 100)
    for _ in range(100):
        assert [kind for kind, _ in wire.answers(LIST)] == [REP_SERVER, REP_SERVER, ACK]
    wire.go("data")
