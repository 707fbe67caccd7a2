"""No tenant reads what another has written: memory is filled with a secret, freed in every way there
is, and looked for in every way of reading."""

import os
import random
import struct

import pytest

from support.compare import eventually
from support.tools import run
from support.wire import (
    BLOCK_STATUS, DF, ENOSPC, NO_HOLE, READ, TRIM, WRITE, WRITE_ZEROES)

KIB, MIB = 1 << 10, 1 << 20
MEMORY, SIZE = 64, 48 * MIB
# SEED= repeats a run; the secret and the order of what is done follow from it.
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
TOKEN = b"\xa5" + random.Random(SEED).randbytes(6).replace(b"\0", b"\1").replace(b"t", b"u") + b"\x5a"


def secret(at, length):
    """Bytes in which every 8 are the token. Never zeros, and the token at any alignment in them."""
    return (TOKEN * (length // 8 + 2))[at % 8: at % 8 + length]


def find_secret(data):
    """The offset of a part of the secret in bytes, or -1. Eight bytes in a row suffice, at any
    alignment."""
    return min((place for shift in range(8) if (place := data.find(TOKEN[shift:] + TOKEN[:shift])) >= 0), default=-1)


@pytest.fixture(autouse=True)
def seed(figure):
    figure(f"SEED={SEED}")


def test_the_search_finds_what_is_there():
    for at in (0, 1, 7, 4095, 100_001):
        assert find_secret(bytes(at) + secret(at, 8) + bytes(50)) == at
        assert find_secret(bytes(at) + secret(3, 8) + bytes(50)) == at
    assert find_secret(bytes(MIB)) == -1 and find_secret(TOKEN[:7] + bytes(9)) == -1


def fill(server, disk):
    """Writes the secret until the memory is full. Returns the bytes that are there."""
    wire = server.go(disk)
    for at in range(0, SIZE, MIB):
        if wire.error(WRITE, at, MIB, 0, secret(at, MIB)) == ENOSPC:
            for small in range(at, min(at + MIB, SIZE), 4096):
                if wire.error(WRITE, small, 4096, 0, secret(small, 4096)) == ENOSPC:
                    return wire, small
    return wire, SIZE


# Ways to free memory. Each gets the server, the connection to the disk with the secret, and its extent.


def by_trim_of_all(server, wire, filled):
    assert wire.error(TRIM, 0, SIZE) == 0


def by_odd_trims(server, wire, filled):
    order = random.Random(SEED)
    at = 0
    while at < SIZE:
        length = min(SIZE - at, order.choice([1, 511, 4095, 4096, 4097, 65537, MIB + 1, 2 * MIB, 5 * MIB]))
        assert wire.error(TRIM, at, length) == 0
        at += length


def by_write_zeroes(server, wire, filled):
    assert wire.error(WRITE_ZEROES, 0, SIZE) == 0


def by_write_zeroes_without_a_hole(server, wire, filled):
    assert wire.error(WRITE_ZEROES, 0, filled // 2, NO_HOLE) == 0
    assert wire.error(TRIM, 0, SIZE) == 0


def by_remove(server, wire, filled):
    wire.close()
    server.remove("secret")


def by_reset(server, wire, filled):
    # The disk is a fork of an empty one.
    wire.close()
    server.run("reset", "secret")


def by_overwriting(server, wire, filled):
    for at in range(0, filled, MIB):
        wire.error(WRITE, at, min(MIB, filled - at), 0, b"\xff" * min(MIB, filled - at))
    assert wire.error(TRIM, 0, SIZE) == 0


def by_a_smaller_size(server, wire, filled):
    server.run("resize", "secret", "4096", "--shrink")
    assert wire.error(TRIM, 0, 4096) == 0
    server.run("resize", "secret", "48M")


def by_shrink_and_compaction(server, wire, filled):
    for at in range(0, SIZE, 2 * MIB):  # Half of each huge frame, so that it is split.
        assert wire.error(TRIM, at + 4096, MIB) == 0
    server.run("tune", "khugepaged/scan_sleep_millisecs=10", "khugepaged/max_ptes_none=511")
    server.run("shrink")
    assert wire.error(TRIM, 0, SIZE) == 0
    server.run("shrink")


def by_a_temporary_fork(server, wire, filled):
    assert wire.error(TRIM, 0, SIZE) == 0
    fork = server.go("secret@")
    for at in range(0, SIZE // 2, MIB):
        fork.error(WRITE, at, MIB, 0, secret(at, MIB))
    fork.close()
    eventually(lambda: server.stat()["memoryUsed"] < 8 * MIB, "the temporary fork's memory is free")


def by_a_lower_limit(server, wire, filled):
    server.run("limit", "secret", "--quota", "1M")
    by_odd_trims(server, wire, filled) if wire.error(TRIM, 0, SIZE) else None
    server.run("limit", "secret", "--quota", "none")
    assert wire.error(TRIM, 0, SIZE) == 0


def by_pressure(server, wire, filled):
    """Others need the memory, so that the server gives back all that it can while the secret goes."""
    server.run("create", "pusher", "--size", "48M")
    pusher = server.go("pusher")
    for at in range(0, SIZE, MIB):
        assert wire.error(TRIM, at, MIB) == 0
        pusher.error(WRITE, at, MIB, 0, b"\x11" * MIB)
        if at % (16 * MIB) == 0:
            server.run("shrink")
    pusher.close()
    server.remove("pusher")


FREEING = [by_trim_of_all, by_odd_trims, by_write_zeroes, by_write_zeroes_without_a_hole, by_remove, by_reset,
           by_overwriting, by_pressure, by_a_smaller_size, by_shrink_and_compaction, by_a_temporary_fork, by_a_lower_limit]


@pytest.fixture(params=FREEING, ids=lambda way: way.__name__)
def freed(request, server):
    """A server whose memory had the secret everywhere, and has it nowhere by right."""
    made = server(memory=f"{MEMORY}M", create=f"empty={SIZE >> 20}M")
    made.run("fork", "empty", "secret")
    wire, filled = fill(made, "secret")
    assert filled > 40 * MIB, "nearly all memory has the secret"
    request.param(made, wire, filled)
    wire.close()
    return made


def looked_for(data, what):
    place = find_secret(data)
    assert place < 0, f"{what}: the secret is at byte {place}"


def test_no_way_of_reading_shows_it(freed, tmp_path):
    server = freed
    order = random.Random(SEED)
    server.run("create", "tenant", "--size", f"{SIZE >> 20}M")
    server.run("create", "odd", "--size", "5000001")
    # Small writes at every kind of place take new pages. All around the written bytes must be zeros.
    for disk, size in (("tenant", SIZE), ("odd", 5_000_001)):
        wire, bare = server.go(disk), server.go(disk, structured=False)
        expected = bytearray(size)
        for _ in range(150):
            length = order.choice([1, 2, 511, 512, 4095])
            at = order.choice([order.randrange(size - length), order.randrange(size // 4096 - 1) * 4096,
                               order.randrange(size // 4096 - 1) * 4096 + 4096 - length])
            if wire.error(WRITE, at, length, 0, b"t" * length) == 0:
                expected[at:at + length] = b"t" * length
        # Huge frames: a write of nearly 2 MiB, and one that ends in the middle of a page.
        if size == SIZE:
            for at, length in ((8 * MIB + 1, 2 * MIB), (16 * MIB, 2 * MIB - 1), (24 * MIB + 4095, 2)):
                assert wire.error(WRITE, at, length, 0, b"t" * length) == 0
                expected[at:at + length] = b"t" * length
        if wire.error(WRITE_ZEROES, size // 2, 100_000, NO_HOLE) == 0:
            expected[size // 2:size // 2 + 100_000] = bytes(100_000)
        for reader, flags in ((wire, 0), (wire, DF), (bare, 0)):
            for part in (8 * MIB, 31 * MIB + 5):
                for at in range(0, size, part):
                    looked_for(reader.read(at, min(part, size - at), flags), f"a read of {disk} at {at}")
        for _ in range(60):
            length = order.choice([1, 13, 4096, 5000, 70_000, 3 * MIB])
            at = order.randrange(max(1, size - length))
            found = wire.read(at, min(length, size - at))
            looked_for(found, f"a read of {length} bytes of {disk} at {at}")
        whole = b"".join(wire.read(at, min(8 * MIB, size - at)) for at in range(0, size, 8 * MIB))
        assert whole == bytes(expected), "nothing but what was written"
        # What is said to be a hole reads as zeros.
        at = 0
        while at < size:
            for length, flags in wire.ask(BLOCK_STATUS, at, size - at).extents():
                assert not flags & 2 or not any(whole[at:at + length]), f"a hole at {at} has bytes"
                at += length
        server.run("export", disk, tmp_path / disk)
        looked_for((tmp_path / disk).read_bytes(), f"an export of {disk}")
        streamed = run(*server.command("export", disk, "-"), text=False).stdout
        looked_for(streamed, f"an export of {disk} by a stream")
        run("nbdcopy", server.uri(disk), tmp_path / "copy")
        looked_for((tmp_path / "copy").read_bytes(), f"nbdcopy of {disk}")
        wire.close(), bare.close()
    # Forks, and forks of forks, of a disk of somebody else.
    for disk in ("tenant@", "tenant@job"):
        wire = server.go(disk)
        wire.write(30 * MIB + 100, b"x")
        looked_for(b"".join(wire.read(at, 8 * MIB) for at in range(0, SIZE, 8 * MIB)), disk)


def test_a_leak_would_be_seen(server):
    """The same look at a disk that does have the secret, by right, in one place."""
    made = server(memory=f"{MEMORY}M", create=f"tenant={SIZE >> 20}M")
    wire = made.go("tenant")
    wire.write(7 * MIB + 1234, secret(0, 13))
    with pytest.raises(AssertionError, match=f"the secret is at byte {7 * MIB + 1234}"):
        looked_for(wire.read(0, 8 * MIB), "a read")


def test_errors_in_the_middle_of_a_write_show_nothing(server):
    """A page that a client began to fill, and then was gone or had no memory, has its bytes or zeros."""
    made = server(memory=f"{MEMORY}M", create=(f"secret={SIZE >> 20}M", "tenant=1G"))
    wire, _ = fill(made, "secret")
    assert wire.error(TRIM, 0, SIZE) == 0
    for number, sent in enumerate((1, 100, 4095, 4096, 5000, 70_000, MIB - 1)):
        cut = made.go("tenant")
        at = number * 4 * MIB + 1000
        cut.send(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, at, MIB) + b"p" * sent)
        cut.close()
    eventually(lambda: made.disk("tenant")["connections"] == 0, "the clients are gone")
    tenant = made.go("tenant")
    for number in range(7):
        found = tenant.read(number * 4 * MIB, 4 * MIB)
        looked_for(found, "a page that was begun")
        assert not found.strip(b"\0p"), "its own bytes, or zeros"
    # A write that finds no memory in the middle.
    assert tenant.error(WRITE_ZEROES, 0, 64 * MIB) == 0
    at = 0
    while tenant.error(WRITE, at, 8 * MIB + 3, 0, b"f" * (8 * MIB + 3)) == 0:
        at += 8 * MIB + 3
    found = tenant.read(at, 8 * MIB + 3)
    looked_for(found, "a write that was refused")
    assert not found.strip(b"\0f")


def test_an_import_that_was_refused_in_the_middle_shows_nothing(server, tmp_path):
    made = server(memory=f"{MEMORY}M")
    (tmp_path / "image").write_bytes(secret(0, 80 * MIB))
    made.refused("memory", "import", "secret", tmp_path / "image")
    made.run("create", "tenant", "--size", "48M")
    wire = made.go("tenant")
    for at in range(0, SIZE, 4096):
        wire.request(WRITE, at + 17, 1, 0, b"t")
        assert wire.reply().error == 0
        if at % (8 * MIB) == 8 * MIB - 4096:
            looked_for(wire.read(at + 4096 - 8 * MIB, 8 * MIB), "pages after an import")
