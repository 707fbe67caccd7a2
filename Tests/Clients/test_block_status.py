"""BLOCK_STATUS on a disk of 1 TiB: with the largest requests, at the very end of the disk, with and
without REQ_ONE."""

import pytest

from support.wire import BLOCK_STATUS, REQ_ONE, WRITE


@pytest.mark.parametrize("step", [(1 << 32) - 1, 1 << 31, (1 << 32) - 4096])
def test_extents_of_1_tib_by_large_requests(server, step):
    wire = server(create="data=1T").go("data")
    wire.write(1 << 20, b"x" * 65536)
    wire.write((600 << 30) + 8192, b"x")
    wire.write(wire.size - 1, b"x")
    at, extents, calls = 0, [], 0
    while at < wire.size:
        got = wire.ask(BLOCK_STATUS, at, min(step, wire.size - at)).extents()
        assert got and all(length > 0 for length, _ in got)
        for length, flags in got:
            # The end of a request may cut an extent in two.
            if extents and extents[-1][1] == flags:
                extents[-1] = (extents[-1][0], flags, extents[-1][2] + length)
            else:
                extents.append((at, flags, length))
            at += length
        calls += 1
    assert at == wire.size
    assert calls <= (1 << 40) // step + 20
    assert [(at, length) for at, flags, length in extents if flags == 0] == [
        (1 << 20, 65536), ((600 << 30) + 8192, 4096), (wire.size - 4096, 4096)]


def test_extents_at_the_very_end(server):
    wire = server(create="data=1T").go("data")
    wire.write(wire.size - 1, b"x")
    assert wire.ask(BLOCK_STATUS, wire.size - 1, 1).extents() == [(1, 0)]
    assert wire.ask(BLOCK_STATUS, wire.size - 8192, 8192).extents() == [(4096, 3), (4096, 0)]


def test_extents_of_a_disk_of_an_odd_size(server):
    wire = server(create="odd=1000001").go("odd")
    wire.write(wire.size - 1, b"x")
    assert wire.ask(BLOCK_STATUS, 0, wire.size).extents() == [
        (wire.size // 4096 * 4096, 3), (wire.size % 4096, 0)]


@pytest.fixture
def every_other(server):
    """A disk of 64 MiB with data in every other page."""
    wire = server(create="many=64M").go("many")
    for page in range(0, 16384, 2):
        wire.request(WRITE, page * 4096, 1, 0, b"x", cookie=page)
        if page % 512 == 510:
            for _ in range(256):
                assert wire.reply().error == 0
    return wire


def test_req_one_gives_one_extent_within_the_request(every_other):
    wire = every_other
    assert wire.ask(BLOCK_STATUS, 0, wire.size, REQ_ONE).extents() == [(4096, 0)]
    assert wire.ask(BLOCK_STATUS, 100, 50, REQ_ONE).extents() == [(50, 0)]
    assert wire.ask(BLOCK_STATUS, 4100, wire.size - 4100, REQ_ONE).extents() == [(4092, 3)]


def test_many_extents_come_up_to_a_limit_and_go_on(every_other):
    wire, at, pieces = every_other, 0, 0
    while at < wire.size:
        for length, flags in wire.ask(BLOCK_STATUS, at, wire.size - at).extents():
            assert (at, length, flags) == (at, 4096, 3 * (at // 4096 % 2))
            at += length
            pieces += 1
    assert (at, pieces) == (wire.size, 16384)
