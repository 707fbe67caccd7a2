"""Offsets and lengths: beyond the end, the largest, and 0.

The error is right, nothing changes, and the stream stays in step, with and without structured
replies.
"""

import pytest

from support.compare import same_bytes
from support.wire import BLOCK_STATUS, CACHE, EINVAL, ENOSPC, FLUSH, READ, TRIM, WRITE, WRITE_ZEROES


@pytest.fixture
def disks(server):
    return server(create=("data=1T", "odd=1000001"))


@pytest.mark.parametrize("name", ["data", "odd"])
def test_beyond_the_end_is_enospc_to_write_or_zero_and_einval_to_read_trim_or_ask(disks, name, structured):
    wire = disks.go(name, structured)
    end = wire.size
    for offset, length in ((end, 1), (end - 1, 2), (end - 4096, 4097), (end + 1, 1), (1 << 63, 4096),
                           ((1 << 64) - 1, 1), ((1 << 64) - 4096, 4096), ((1 << 64) - 1, 0)):
        errors = {"offset": offset, "length": length,
                  "read": wire.error(READ, offset, length),
                  "trim": wire.error(TRIM, offset, length),
                  "cache": wire.error(CACHE, offset, length),
                  "write": wire.error(WRITE, offset, length, payload=b"\xee" * length),
                  "zeroes": wire.error(WRITE_ZEROES, offset, length)}
        assert errors == {"offset": offset, "length": length, "read": EINVAL, "trim": EINVAL,
                          "cache": EINVAL, "write": ENOSPC, "zeroes": ENOSPC}
        if structured:
            assert wire.error(BLOCK_STATUS, offset, length) == EINVAL
    # A refused write does not change the bytes before the end.
    same_bytes(wire.read(end - 4096, 4096), bytes(4096), "the last 4 KiB", at=end - 4096)
    assert wire.error(WRITE_ZEROES, 0, (1 << 32) - 1) == (0 if name == "data" else ENOSPC)


@pytest.mark.parametrize("length", [50 << 20, 64 << 20], ids=["50M", "64M"])
def test_the_largest_payloads_both_ways(disks, structured, length):
    wire = disks.go("data", structured)
    wire.write(5, b"\x5a" * length)
    same_bytes(wire.read(5, length), b"\x5a" * length, at=5)
    same_bytes(wire.read(0, 8), bytes(5) + b"\x5a" * 3)
    assert wire.error(TRIM, 0, (1 << 32) - 1) == 0


@pytest.mark.parametrize("length", [(64 << 20) + 1, 80 << 20, 100 << 20, (1 << 32) - 1])
def test_a_larger_payload_is_refused_in_step(disks, structured, length):
    wire = disks.go("data", structured)
    wire.write(5, b"\x5a" * 4096)
    assert wire.error(READ, 0, length) == EINVAL
    if length <= 100 << 20:
        assert wire.error(WRITE, 0, length, payload=bytes(length)) == EINVAL
    same_bytes(wire.read(0, 8), bytes(5) + b"\x5a" * 3)


def test_zero_lengths_change_nothing_and_hurt_nobody(disks, structured):
    wire = disks.go("data", structured)
    wire.write(4096, b"\1" * 4096)
    for offset in (0, 4096, 5000, wire.size):
        assert wire.ask(READ, offset, 0).error == 0
        for command in (WRITE, TRIM, WRITE_ZEROES, CACHE, FLUSH):
            assert (command, wire.error(command, offset, 0)) == (command, 0)
        if structured:
            assert wire.error(BLOCK_STATUS, offset, 0) == EINVAL
    same_bytes(wire.read(4096, 4096), b"\1" * 4096, at=4096)
