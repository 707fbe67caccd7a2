"""Extended headers, several metadata contexts, and RESIZE, byte by byte from the specification.
Debian 12's clients do not speak them."""

import struct

import pytest

from support.compare import noise, same_bytes
from support.wire import (
    ACK, BLOCK_STATUS, CACHE, DF, EINVAL, ENOSPC, EPERM, EXTENDED, FLUSH, FUA, INVALID, LIST_META,
    NEEDS_EXTENDED, NO_HOLE, PAYLOAD_LEN, READ, REQ_ONE, RESIZE, SET_META, STRUCTURED_REPLY, TRIM,
    WRITE, WRITE_ZEROES)

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
ALLOCATION, ORIGIN, FRAMES = 1, 2, 3
ALL = ["base:allocation", "x-hugemem:origin", "x-hugemem:frames"]


@pytest.fixture
def disks(server):
    return server(memory="256M", create=("data=1T", "small=1M", "odd=10001"))


@pytest.fixture
def wire(disks):
    return disks.wire().go("data", extended=True, contexts=ALL)


# Extended headers


def test_they_are_negotiated_once_and_include_structured_replies(disks):
    wire = disks.wire()
    assert wire.status(EXTENDED, b"x") == INVALID
    assert wire.status(EXTENDED) == ACK
    assert wire.status(EXTENDED) == INVALID
    assert wire.status(STRUCTURED_REPLY) == NEEDS_EXTENDED
    assert wire.meta(SET_META, "data", "base:allocation") == (ACK, ["base:allocation"])


def test_after_structured_replies_they_can_still_be_negotiated(disks):
    wire = disks.wire()
    assert wire.status(STRUCTURED_REPLY) == ACK
    wire.go("data", extended=True).write(0, b"x" * 100)
    assert wire.read(0, 100) == b"x" * 100


@pytest.mark.parametrize("length", [1, 511, 4096, 65536, 65537, 3 * MIB + 1, 32 * MIB, 64 * MIB])
def test_reads_and_writes(wire, length):
    data = noise(length)
    wire.write(12345, data)
    same_bytes(wire.read(12345, length), data, "extended")
    same_bytes(wire.read(12345, length, DF), data, "extended, not fragmented")


def test_every_reply_has_an_extended_head(wire):
    for request in ((WRITE, 0, 3, FUA, b"abc"), (FLUSH,), (TRIM, 0, 4096), (CACHE, 0, 4096),
                    (WRITE_ZEROES, 0, 4096), (WRITE_ZEROES, 0, 4096, NO_HOLE), (READ, 0, 0), (BLOCK_STATUS, 0, 9)):
        assert wire.ask(*request).error == 0, request  # Wire.reply() takes no other head.
    assert wire.error(99) == EINVAL
    assert wire.error(READ, 2 * TIB, 1) == EINVAL


@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES, CACHE])
def test_lengths_beyond_32_bits(wire, disks, command):
    for at in (0, 5 * GIB, 700 * GIB):
        wire.write(at, b"data" * 1024)
    assert wire.error(command, 0, 600 * GIB) == 0
    zeros = command != CACHE
    for at in (0, 5 * GIB):
        assert wire.read(at, 4096) == (bytes(4096) if zeros else b"data" * 1024)
    assert wire.read(700 * GIB, 4096) == b"data" * 1024
    if zeros:
        assert disks.data("data") == 4096


@pytest.mark.parametrize("command, error", [
    (READ, EINVAL), (TRIM, EINVAL), (CACHE, EINVAL), (BLOCK_STATUS, EINVAL), (WRITE_ZEROES, ENOSPC)])
@pytest.mark.parametrize("offset, length", [
    (0, 1 << 64), (0, TIB + 1), (TIB, 1), (1, TIB), ((1 << 64) - 1, 1), ((1 << 64) - 4096, 4096), (1 << 63, 1 << 63),
    (4096, (1 << 64) - 4096), (4096, (1 << 64) - 4095)])
def test_ranges_beyond_the_end_whatever_their_sum(wire, command, error, offset, length):
    assert wire.error(command, offset, min(length, (1 << 64) - 1)) == error
    assert wire.error(FLUSH) == 0


def test_a_payload_that_is_too_long_for_a_write_is_skipped(wire):
    wire.send(struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, WRITE, 7, 0, 64 * MIB + 1))
    for _ in range(64):
        wire.send(bytes(MIB))
    wire.send(b"x")
    assert wire.reply().error == EINVAL
    assert wire.read(0, 4096) == bytes(4096)


def test_a_payload_where_none_belongs_is_skipped(wire):
    for command in (READ, TRIM, FLUSH, CACHE, WRITE_ZEROES, RESIZE, 99):
        assert wire.error(command, 0, 4096, payload=b"p" * 4096) == EINVAL
    assert wire.read(0, 4096) == bytes(4096)


def test_a_payload_beyond_4_gib_ends_the_connection(wire, disks):
    wire.send(struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, WRITE, 7, 0, 1 << 62))
    assert wire.is_closed()
    disks.go("data")


@pytest.mark.parametrize("extended", [False, True])
def test_a_head_of_the_other_kind_ends_the_connection(disks, extended):
    wire = disks.wire().go("data", extended=extended)
    compact = struct.pack(">IHHQQI", 0x25609513, 0, READ, 7, 0, 1)
    long = struct.pack(">IHHQQQ", 0x21E41C71, 0, READ, 7, 0, 1)
    wire.send(compact + b"pad!" if extended else long)
    assert wire.is_closed()


def test_without_them_their_flag_is_invalid(disks):
    wire = disks.go("data")
    assert wire.error(WRITE, 0, 4, PAYLOAD_LEN, b"data") == EINVAL
    assert wire.read(0, 4) == bytes(4)


def test_block_status_of_a_tebibyte_in_one_request(wire):
    wire.write(600 * GIB, b"x")
    assert wire.ask(BLOCK_STATUS, 0, TIB).extents(ALLOCATION) == [
        (600 * GIB, 3), (4096, 0), (TIB - 600 * GIB - 4096, 3)]


# Block status with a payload


def status_payload(length, *contexts):
    return struct.pack(f">Q{len(contexts)}I", length, *contexts)


@pytest.mark.parametrize("wanted", [[ALLOCATION], [FRAMES], [ORIGIN, FRAMES], [FRAMES, ALLOCATION, FRAMES]])
def test_a_payload_chooses_among_the_contexts(wire, wanted):
    payload = status_payload(MIB, *wanted)
    reply = wire.ask(BLOCK_STATUS, 0, len(payload), payload=payload)
    assert reply.error == 0 and set(reply.all_extents()) == set(wanted)
    assert all(sum(length for length, _ in extents) == MIB for extents in reply.all_extents().values())


@pytest.mark.parametrize("payload", [
    b"", b"1234", status_payload(MIB), status_payload(MIB, 99), status_payload(MIB, ALLOCATION, 0),
    status_payload(0, ALLOCATION), status_payload(2 * TIB, ALLOCATION), status_payload((1 << 64) - 1, ALLOCATION),
    status_payload(MIB, ALLOCATION) + b"x", status_payload(MIB, *[ALLOCATION] * 5000)],
    ids=["empty", "short", "no-context", "unknown", "zero", "length-0", "beyond", "wraps", "odd", "long"])
def test_a_payload_that_is_wrong_is_refused_in_step(wire, payload):
    wire.send(struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, BLOCK_STATUS, 7, 0, len(payload)) + payload)
    assert wire.reply().error == EINVAL
    assert wire.error(FLUSH) == 0


def test_a_payload_in_drops(wire):
    payload = status_payload(MIB, ALLOCATION)
    for byte in struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, BLOCK_STATUS, 7, 0, len(payload)) + payload:
        wire.send(bytes([byte]))
    assert wire.reply().extents(ALLOCATION) == [(MIB, 3)]


def test_only_contexts_that_were_selected_may_be_named(disks):
    wire = disks.wire().go("data", extended=True, contexts=["base:allocation"])
    assert wire.flags >> 12 & 1, "BLOCK_STATUS_PAYLOAD is announced"
    payload = status_payload(MIB, FRAMES)
    assert wire.error(BLOCK_STATUS, 0, len(payload), payload=payload) == EINVAL


@pytest.mark.parametrize("extended, contexts, announced", [
    (True, ALL, True), (True, ["base:nosuch"], False), (False, ALL, False)])
def test_the_flag_is_announced_where_it_is_served(disks, extended, contexts, announced):
    wire = disks.wire().go("data", extended=extended, contexts=contexts)
    assert bool(wire.flags >> 12 & 1) == announced


# Several contexts


@pytest.mark.parametrize("extended", [False, True])
def test_each_context_has_a_chunk_and_req_one_holds_for_each(disks, extended):
    wire = disks.wire().go("data", extended=extended, contexts=ALL)
    wire.write(MIB, b"x" * 8192)
    reply = wire.ask(BLOCK_STATUS, 0, 4 * MIB)
    assert reply.all_extents() == {
        ALLOCATION: [(MIB, 3), (8192, 0), (3 * MIB - 8192, 3)],
        ORIGIN: [(MIB, 3), (8192, 0), (3 * MIB - 8192, 3)],
        FRAMES: [(MIB, 0), (8192, 2), (3 * MIB - 8192, 0)]}
    assert wire.ask(BLOCK_STATUS, 0, 4 * MIB, REQ_ONE).all_extents() == {
        ALLOCATION: [(MIB, 3)], ORIGIN: [(MIB, 3)], FRAMES: [(MIB, 0)]}


def test_the_frames_context_tells_huge_small_and_zero(disks):
    wire = disks.wire().go("data", contexts=["x-hugemem:frames"])
    for at in range(0, 2 * MIB, MIB // 4):  # A whole 2 MiB takes a huge frame once it is collapsed.
        wire.write(at, b"x" * (MIB // 4))
    disks.run("tune", "khugepaged/scan_sleep_millisecs=10")
    from support.compare import eventually
    eventually(lambda: wire.ask(BLOCK_STATUS, 0, 2 * MIB).extents() == [(2 * MIB, 4)], "dense data is huge")
    wire.write(4 * MIB, b"x")
    wire.read(6 * MIB, 4096)
    found = dict.fromkeys(flag for _, flag in wire.ask(BLOCK_STATUS, 0, 8 * MIB).extents())
    assert {4, 0, 2} <= set(found) <= {4, 0, 2, 1}


def test_the_origin_context_tells_what_changed_since_the_fork(disks):
    base = disks.go("data")
    base.write(0, noise(64 * 4096))
    disks.run("fork", "data", "job")
    job = disks.wire().go("job", contexts=["x-hugemem:origin"])
    assert job.ask(BLOCK_STATUS, 0, GIB).extents() == [(GIB, 1)]
    job.write(8 * 4096 + 1, b"x")
    assert job.error(TRIM, 16 * 4096, 2 * 4096) == 0
    base.write(32 * 4096, b"the origin goes on")
    job.write(700 * MIB, b"new")
    assert job.ask(BLOCK_STATUS, 0, GIB).extents() == [
        (8 * 4096, 1), (4096, 0), (7 * 4096, 1), (2 * 4096, 2), (700 * MIB - 18 * 4096, 1), (4096, 0),
        (GIB - 700 * MIB - 4096, 1)]
    disks.run("reset", "job")
    assert job.ask(BLOCK_STATUS, 0, GIB).extents() == [(GIB, 1)]
    disks.run("fork", "job", "deeper")
    deeper = disks.wire().go("deeper", contexts=["x-hugemem:origin"])
    assert deeper.ask(BLOCK_STATUS, 0, GIB).extents() == [(GIB, 1)]


@pytest.mark.parametrize("queries, listed", [
    ([], ALL), (["x-hugemem:"], ALL[1:]), (["base:"], ALL[:1]), (["x-hugemem:frames"], ALL[2:]), (["x-hugemem"], []),
    (["x-hugemem:nosuch"], []), (["base:", "x-hugemem:"], ALL)])
def test_contexts_that_a_query_lists(disks, queries, listed):
    wire = disks.wire()
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(LIST_META, "data", *queries) == (ACK, listed)
    assert wire.meta(SET_META, "data", *queries) == (ACK, [query for query in queries if query in ALL])


# Resize


@pytest.mark.parametrize("extended", [False, True])
def test_resize_grows_with_zeros_and_shrinks_with_loss(disks, extended):
    wire, other = disks.wire().go("small", extended=extended), disks.go("small")
    assert wire.flags >> 9 & 1, "RESIZE is announced"
    wire.write(MIB - 4096, b"last" * 1024)
    assert wire.error(RESIZE, 4 * MIB) == 0
    assert disks.disk("small")["size"] == 4 * MIB
    other.write(3 * MIB, b"beyond")
    assert wire.read(MIB - 4096, 8192) == b"last" * 1024 + bytes(4096)
    assert wire.error(RESIZE, MIB - 100) == 0
    assert other.error(READ, MIB - 100, 1) == ENOSPC
    assert other.error(WRITE, MIB - 101, 2, payload=b"xy") == ENOSPC
    assert wire.error(RESIZE, 4 * MIB) == 0
    assert wire.read(MIB - 4096, 4096) == (b"last" * 1024)[:-100] + bytes(100), "what was cut off is gone"
    assert wire.read(3 * MIB, 6) == bytes(6)


def test_sizes_that_cannot_be(disks):
    wire = disks.go("small")
    assert wire.error(RESIZE, 0) == EINVAL
    assert wire.error(RESIZE, 2 * MIB, 1) == EINVAL
    assert wire.error(RESIZE, (1 << 64) - 1) == ENOSPC
    assert wire.error(RESIZE, GIB + 1) == ENOSPC
    assert wire.error(RESIZE, GIB) == 0
    assert disks.disk("small")["size"] == GIB


@pytest.mark.parametrize("command", [READ, TRIM, CACHE, WRITE, WRITE_ZEROES, BLOCK_STATUS])
def test_what_was_cut_off_has_no_space_and_what_never_was_is_invalid(disks, command):
    """The extension says so: beyond the new size but not beyond the old one, requests fail with ENOSPC."""
    wire = disks.go("small")
    def error(offset):
        return wire.error(command, offset, 4096, 0, b"x" * 4096 if command == WRITE else b"")
    assert wire.error(RESIZE, 4 * MIB) == 0 and wire.error(RESIZE, MIB) == 0
    assert error(MIB - 4096) == 0
    assert error(MIB) == ENOSPC and error(MIB - 100) == ENOSPC and error(4 * MIB - 4096) == ENOSPC
    assert error(4 * MIB - 4095) == (ENOSPC if command in (WRITE, WRITE_ZEROES) else EINVAL)


def test_the_command_grows_a_disk_and_shrinks_it_only_if_told(disks):
    disks.run("resize", "small", "2M")
    assert disks.disk("small")["size"] == 2 * MIB
    disks.refused("--shrink", "resize", "small", "1M")
    disks.run("resize", "small", "1M", "--shrink")
    disks.refused("use 1 to", "resize", "small", "2G")
    disks.refused("no disk is named", "resize", "nosuch", "2G")
    disks.refused("size", "resize", "small", "much")
    assert disks.disk("small")["size"] == MIB


def test_a_reset_gives_a_fork_its_size_back(disks):
    disks.go("small").write(0, b"origin")
    disks.run("fork", "small", "job")
    job = disks.go("job")
    assert job.error(RESIZE, 8 * MIB) == 0
    job.write(5 * MIB, b"beyond")
    disks.run("fork", "job", "deeper")
    disks.run("reset", "job")
    assert disks.disk("job")["size"] == MIB and disks.disk("deeper")["size"] == 8 * MIB
    assert job.read(0, 6) == b"origin"
    assert job.error(RESIZE, 8 * MIB) == 0
    assert job.read(5 * MIB, 6) == bytes(6)
    assert disks.go("deeper").read(5 * MIB, 6) == b"beyond"


def test_trims_at_an_odd_end_leave_nothing(disks):
    wire = disks.go("odd")
    for command in (TRIM, WRITE_ZEROES):
        wire.write(0, noise(10001))
        assert wire.error(command, 0, 10001) == 0
        assert wire.read(0, 10001) == bytes(10001)
        assert disks.data("odd") == 0
