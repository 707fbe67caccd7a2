"""READ, structured and simple, with and without DF, over holes and data. A model says what each
answer must be."""

import random

import pytest

from support.compare import same_bytes
from support.wire import DF, FAST_ZERO, FUA, NO_HOLE, READ, WRITE_ZEROES

MIB = 1 << 20


@pytest.fixture
def disks(server):
    return server(create=("data=1T", "odd=1000001"))


def write_pieces(wire):
    """Writes 64 KiB at 1 MiB, and 100 bytes after a hole of 64 KiB."""
    wire.write(MIB, b"\1" * 65536)
    wire.write(MIB + 131072, b"\2" * 100)


def test_holes_come_as_holes_data_as_data(disks):
    wire = disks.go("data")
    write_pieces(wire)
    wanted = bytes(4096) + b"\1" * 65536 + bytes(65536) + b"\2" * 100 + bytes(100000)
    same_bytes(wire.read(MIB - 4096, len(wanted)), wanted, at=MIB - 4096)
    kinds = [kind for kind, _ in wire.ask(READ, MIB - 4096, len(wanted)).chunks]
    assert kinds == [2, 1, 2, 1, 2]


def test_a_hole_of_the_largest_length_costs_32_bytes_on_the_wire(disks):
    chunks = disks.go("data").ask(READ, 1 << 30, 32 << 20).chunks
    assert [(kind, len(payload)) for kind, payload in chunks] == [(2, 12)]


@pytest.mark.parametrize("offset, length", [
    (MIB - 4096, 1), (MIB - 5000, 65536), (0, 2 << 20), (0, 32 << 20)])
def test_df_gives_one_chunk_whatever_it_spans(disks, offset, length):
    wire = disks.go("data")
    write_pieces(wire)
    reply = wire.ask(READ, offset, length, DF)
    assert [(kind, len(payload)) for kind, payload in reply.chunks] == [(1, length + 8)]
    same_bytes(reply.chunks[0][1][8:], wire.read(offset, length), at=offset)


def test_reads_of_every_alignment_agree_with_a_model(disks, structured):
    rng = random.Random(4)
    wire = disks.go("odd", structured)
    model = bytearray(wire.size)
    for step in range(1500):
        offset = rng.randrange(wire.size)
        length = min(wire.size - offset,
                     rng.choice((1, 7, 512, 4096, 4097, 16384, 16385, 70000, 300000)))
        act = rng.randrange(4)
        if act == 0:
            model[offset : offset + length] = data = rng.randbytes(length)
            wire.write(offset, data, rng.choice((0, FUA)))
        elif act == 1:
            model[offset : offset + length] = bytes(length)
            assert wire.error(WRITE_ZEROES, offset, length, rng.choice((0, NO_HOLE, FAST_ZERO))) == 0
        else:
            flags = DF if act == 2 and structured else 0
            same_bytes(wire.read(offset, length, flags), model[offset : offset + length],
                       f"step {step}, a read", at=offset)
    same_bytes(wire.read(0, wire.size), model, "the whole disk")
