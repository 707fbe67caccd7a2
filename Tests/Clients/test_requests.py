"""Requests that are wrong or only odd: unknown commands and flags, and many requests in one piece.

The error is right, nothing changes, and the stream stays in step.
"""

import errno
import struct

import pytest

from support.compare import same_bytes
from support.wire import (
    BLOCK_STATUS, CACHE, DF, EINVAL, ENOSPC, ENOTSUP, FAST_ZERO, FLUSH, FUA, NO_HOLE, READ,
    REQ_ONE, RESIZE, TRIM, WRITE, WRITE_ZEROES)


@pytest.fixture
def data(server):
    return server(create="data=1T")


@pytest.mark.parametrize("command", [RESIZE, 9, 255, 65535])
def test_an_unknown_command_is_einval(data, structured, command):
    wire = data.go("data", structured)
    assert wire.error(command, 0, 4096) == EINVAL
    wire.read(0, 1)


# The flags that each command has with simple replies. Every other bit is refused.
KNOWN = {READ: FUA, WRITE: FUA, FLUSH: FUA, TRIM: FUA, CACHE: FUA,
         WRITE_ZEROES: FUA | NO_HOLE | FAST_ZERO, BLOCK_STATUS: FUA | REQ_ONE}
NAMES = {READ: "read", WRITE: "write", FLUSH: "flush", TRIM: "trim", CACHE: "cache",
         WRITE_ZEROES: "zeroes", BLOCK_STATUS: "status"}


@pytest.mark.parametrize("command", KNOWN, ids=NAMES.values())
def test_unknown_flags_are_einval_known_ones_are_not(data, structured, command):
    wire = data.go("data", structured)
    known = KNOWN[command] | (DF if command == READ and structured else 0)
    if command == BLOCK_STATUS and not structured:
        assert wire.error(BLOCK_STATUS, 0, 4096) == EINVAL
        return
    length = 0 if command == FLUSH else 4096
    payload = bytes(4096) if command == WRITE else b""
    assert wire.error(command, 0, length, 0, payload) == 0
    got = {1 << bit: wire.error(command, 0, length, 1 << bit, payload) for bit in range(16)}
    assert got == {1 << bit: 0 if known >> bit & 1 else EINVAL for bit in range(16)}


def test_fast_zero_with_no_hole_is_not_supported_either_alone_is(data):
    wire = data.go("data")
    wire.write(8192, b"\1" * 8192)
    assert wire.error(WRITE_ZEROES, 8192, 8192, FAST_ZERO | NO_HOLE) == ENOTSUP
    same_bytes(wire.read(8192, 8192), b"\1" * 8192, "what nothing happened to", at=8192)
    assert wire.error(WRITE_ZEROES, 8192, 4096, FAST_ZERO) == 0
    assert wire.error(WRITE_ZEROES, 12288, 4096, NO_HOLE | FUA) == 0
    same_bytes(wire.read(8192, 8192), bytes(8192), at=8192)
    assert wire.ask(BLOCK_STATUS, 8192, 8192).extents() == [(4096, 3), (4096, 0)]


def test_a_thousand_requests_in_one_piece_good_and_bad_are_answered_each(data):
    wire = data.go("data")
    rows, wanted = [], {}
    for cookie in range(1000):
        command, offset, length, payload, wanted[cookie] = (
            (WRITE, cookie * 513, 4, struct.pack(">I", cookie), 0),
            (WRITE, wire.size, 70, b"w" * 70, ENOSPC),
            (READ, wire.size, 1, b"", EINVAL),
            (99, 0, 0, b"", EINVAL),
            (READ, 0, 4096, b"", 0))[cookie % 5]
        rows.append(struct.pack(">IHHQQI", 0x25609513, 0, command, cookie, offset, length) + payload)
    wire.send(b"".join(rows))
    got = {}
    for _ in rows:
        reply = wire.reply()
        got[reply.cookie] = reply.error
    assert got == wanted
    for cookie in range(0, 1000, 5):
        same_bytes(wire.read(cookie * 513, 4), struct.pack(">I", cookie), at=cookie * 513)


def test_libnbd_with_its_own_checks_off_sees_the_same_errors(data):
    nbd = pytest.importorskip("nbd", reason="scripts/deps installs python3-libnbd")
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.add_meta_context("base:allocation")
    handle.connect_uri(data.uri("data"))

    def error(call, *arguments):
        with pytest.raises(nbd.Error) as failure:
            call(*arguments)
        return failure.value.errnum

    end = handle.get_size()
    assert error(handle.pwrite, b"x" * 4096, end - 1) == errno.ENOSPC
    assert error(handle.zero, 4096, end) == errno.ENOSPC
    assert error(handle.trim, 4096, end) == errno.EINVAL
    assert error(handle.block_status, 4096, end, lambda *_: 0) == errno.EINVAL
    assert error(handle.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE) == errno.ENOTSUP
    same_bytes(bytes(handle.pread(4096, end - 4096)), bytes(4096), at=end - 4096)
    handle.shutdown()
