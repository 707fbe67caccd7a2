"""At the memory limit, writes get ENOSPC, everything else works, and a discard makes room."""

import struct

import pytest

from support.compare import noise, same_bytes
from support.tools import refused, run
from support.wire import ENOSPC, NO_HOLE, TRIM, WRITE, WRITE_ZEROES

MIB = 1 << 20
LIMIT = 64 * MIB


@pytest.fixture
def disks(server):
    """A server with 64 MiB, of which the disk `other` has 4."""
    server = server(memory="64M", create=("big=10G", "other=1G"))
    server.io("other", "write -P 33 0 4M")
    return server


def fill_by_nbdcopy(disks, folder):
    image = folder / "100M"
    image.write_bytes(noise(100 * MIB))
    refused("No space left", "nbdcopy", image, disks.uri("big"))


@pytest.fixture
def full(disks, tmp_path):
    """The disk `big` has taken all the memory that was left."""
    fill_by_nbdcopy(disks, tmp_path)
    return disks


def fill(wire, length):
    """Writes until an error. Returns the error and the number of writes before it."""
    done = 0
    while True:
        error = wire.error(WRITE, done * length, length, 0, struct.pack(">Q", done + 1) * (length // 8))
        if error:
            return error, done
        done += 1
        assert done * length <= LIMIT, "more than the limit was written"


@pytest.mark.parametrize("length", [MIB, 4096], ids=["1M", "4k"])
def test_writes_fit_up_to_enospc_and_what_was_acknowledged_is_there(disks, length, figure):
    wire = disks.go("big")
    error, done = fill(wire, length)
    assert error == ENOSPC
    assert done * length >= 50 * MIB
    figure(f"{done * length >> 20} MiB in writes of {length} bytes fit beside 4 MiB, of 64 MiB")
    # The same connection goes on, in step. Only the contents of the refused write are unknown.
    for index in range(done):
        same_bytes(wire.read(index * length, length), struct.pack(">Q", index + 1) * (length // 8), at=index * length)


@pytest.mark.parametrize("length", [MIB, 4096], ids=["1M", "4k"])
def test_a_full_disk_can_be_rewritten_where_it_has_memory(disks, length):
    wire = disks.go("big")
    fill(wire, length)
    wire.write(0, b"\xaa" * length)
    same_bytes(wire.read(0, length), b"\xaa" * length)
    assert wire.error(WRITE_ZEROES, 8 << 30, 32 * MIB, NO_HOLE) == ENOSPC
    same_bytes(wire.read((8 << 30) + 31 * MIB, MIB), bytes(MIB))
    assert wire.error(WRITE, 9 << 30, 32 * MIB, 0, bytes(32 * MIB)) == ENOSPC
    same_bytes(wire.read(0, length), b"\xaa" * length)


def test_it_fills_again_by_other_sizes_after_a_trim(disks):
    wire = disks.go("big")
    for length in (MIB, 4096, MIB):
        error, done = fill(wire, length)
        assert (error, done * length >= 50 * MIB) == (ENOSPC, True), f"{done} writes of {length}"
        for at in range(0, 10 << 30, 1 << 30):
            assert wire.error(TRIM, at, 1 << 30) == 0


def test_nbdcopy_of_too_much_ends_with_enospc(disks, tmp_path):
    fill_by_nbdcopy(disks, tmp_path)


def test_other_disks_can_be_read_rewritten_and_listed(full):
    full.io("other", "read -P 33 0 4M", "write -P 34 0 4M", "read -P 34 0 4M")
    run("nbdinfo", full.uri("other"))
    full.run("list")
    full.run("stat")


def test_memory_used_is_within_the_limit(full):
    status = full.stat()
    assert status["memoryUsed"] <= status["memoryLimit"] == LIMIT


def test_forks_are_made_or_refused_clearly(full):
    """Empty disks, forks and connections may or may not fit. In both cases nothing breaks."""
    for number in range(200):
        done = full.run("fork", "other", f"f{number}", check=False)
        if done.returncode:
            assert "memory limit" in done.stderr
            break
    forks = [name for name in full.names() if name.startswith("f")]
    if forks:
        full.remove(*forks)
    full.io("other", "read -P 33 0 4M")


def test_an_import_is_refused_and_leaves_nothing_behind(full, tmp_path):
    before = full.json("list")
    full.refused("memory limit", "import", "more", tmp_path / "100M")
    assert full.json("list") == before


def test_a_discard_makes_room_again(full):
    full.io("big", "discard 0 64M", "write -P 35 1G 40M", "read -P 35 1G 40M")


def test_a_forks_write_is_refused_and_its_origin_is_sound(disks):
    """A fork needs memory of its own for its writes. If none is left, its origin does not
    change."""
    disks.io("big", "write -P 35 1G 40M")
    disks.run("fork", "big", "child")
    done = disks.qemu_io("child", "write -P 36 1G 40M")
    assert "No space left" in done.stdout + done.stderr
    disks.io("big", "read -P 35 1G 40M")


def test_a_removal_makes_room_again(full):
    full.remove("big")
    full.run("create", "big", "--size", "10G")
    full.io("big", "write -P 37 0 50M", "read -P 37 0 50M")
