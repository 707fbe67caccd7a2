"""Negotiation and its end: contexts, information, ABORT, the old EXPORT_NAME, and garbage."""

import struct

import pytest

from support.wire import (
    ABORT, ACK, BLOCK_STATUS, EINVAL, EXPORT_NAME, INFO, LIST_META, REP_INFO, SET_META,
    STRUCTURED_REPLY, UNKNOWN, text)

BASE = ["base:allocation"]


@pytest.fixture
def disks(server):
    return server(create=("data=1M", "other=2M"))


@pytest.mark.parametrize("queries, wanted", [
    ([], [*BASE, "x-hugemem:origin", "x-hugemem:frames"]), (["base:"], BASE), (BASE, BASE), (["base:nosuch"], []),
    (["qemu:dirty-bitmap:x"], []), (["base"], []), ([""], [])])
def test_contexts_that_a_query_lists(disks, queries, wanted):
    wire = disks.wire()
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(LIST_META, "data", *queries) == (ACK, wanted)


@pytest.mark.parametrize("queries, wanted", [
    ([], []), (["base:"], []), (BASE * 2, BASE), (["x:y", *BASE], BASE)])
def test_contexts_that_a_query_selects(disks, queries, wanted):
    wire = disks.wire()
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(SET_META, "data", *queries) == (ACK, wanted)


def test_a_context_of_a_disk_that_does_not_exist_is_unknown(disks):
    wire = disks.wire()
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(SET_META, "nosuch", *BASE)[0] == UNKNOWN


@pytest.mark.parametrize("selections, wanted", [
    pytest.param([], EINVAL, id="none"),
    pytest.param([("data", BASE)], 0, id="selected"),
    pytest.param([("data", BASE), ("data", ["base:nosuch"])], EINVAL, id="replaced-by-none"),
    pytest.param([("data", BASE), ("nosuch", BASE)], EINVAL, id="replaced-by-one-that-failed"),
    pytest.param([("other", BASE)], EINVAL, id="of-another-export"),
])
def test_block_status_needs_the_context_of_its_export(disks, selections, wanted):
    wire = disks.wire()
    wire.status(STRUCTURED_REPLY)
    for export, queries in selections:
        wire.meta(SET_META, export, *queries)
    wire.go("data", structured=False)
    wire.structured = True
    assert wire.error(BLOCK_STATUS, 0, 4096) == wanted


def test_info_tells_size_block_sizes_name_and_description(disks):
    replies = disks.wire().option(INFO, text("other") + struct.pack(">HHHHH", 4, 1, 2, 3, 999))
    infos = {struct.unpack(">H", p[:2])[0]: p[2:] for kind, p in replies if kind == REP_INFO}
    assert sorted(infos) == [0, 1, 2, 3]
    assert struct.unpack(">QH", infos[0])[0] == 2 << 20
    assert (infos[1], infos[2]) == (b"other", b"hugemem RAM disk")
    assert struct.unpack(">III", infos[3]) == (1, 4096, 32 << 20)


def test_df_is_offered_only_with_structured_replies(disks):
    without, with_ = disks.go("data", structured=False), disks.go("data")
    assert with_.flags & ~without.flags == 1 << 7


def test_abort_is_acknowledged_then_the_server_closes(disks):
    wire = disks.wire()
    assert wire.status(ABORT) == ACK
    assert wire.is_closed()


@pytest.mark.parametrize("flags, zeroes", [(1, 124), (3, 0), (0, 124)],
                         ids=["fixed", "fixed-without-zeroes", "old"])
def test_export_name_the_old_way(disks, flags, zeroes):
    wire = disks.wire(flags)
    wire.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 5) + b"other")
    assert struct.unpack(">QH", wire.take(10))[0] == 2 << 20
    assert wire.take(zeroes) == bytes(zeroes)
    wire.write(1000, b"old way")
    assert wire.read(1000, 7) == b"old way"


def test_export_name_of_a_disk_that_does_not_exist_closes(disks):
    wire = disks.wire()
    wire.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 6) + b"nosuch")
    assert wire.is_closed()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(64), b"\xff" * 64],
                         ids=["http", "zeros", "ones"])
def test_garbage_closes_its_own_connection_and_no_other(disks, garbage):
    other = disks.go("data")
    other.write(0, b"in step")
    negotiating = disks.wire()
    negotiating.send(garbage)
    assert negotiating.is_closed()
    transmitting = disks.go("data")
    transmitting.send(garbage)
    assert transmitting.is_closed()
    assert other.read(0, 7) == b"in step"


def test_a_client_flag_that_does_not_exist_closes(disks):
    assert disks.wire(flags=4).is_closed()
