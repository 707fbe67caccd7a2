"""nbdcopy from a file to a disk and back, over several connections. Holes stay holes both ways."""

import os
from pathlib import Path

import pytest

from support.compare import noise, same_bytes, same_files
from support.tools import run

MIB = 1 << 20
SIZE = 300 * MIB
# The odd bytes cross the boundary of two pages.
WRITTEN = 100 * MIB + 2 * 4096


@pytest.fixture
def image(tmp_path):
    """An image of 300 MiB. A third is random data, in pieces of 1 MiB with holes between, and odd
    bytes."""
    path = tmp_path / "in"
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for at in range(0, 300, 3):
            file.seek(at * MIB)
            file.write(noise(MIB, at))
        file.seek(2 * MIB + 4095)
        file.write(b"odd")
    return path


@pytest.fixture
def disks(server):
    return server("--tcp", "127.0.0.1:0", create=("data=300M", "again=300M"))


def push(image, disks, name, *options):
    run("nbdcopy", *options, image, disks.uri(name))


def same_disk(disks, name, image, *options):
    out = image.with_name("out")
    run("nbdcopy", *options, disks.uri(name), out)
    same_files(out, image)
    return out


def test_a_file_to_a_disk_over_4_connections(disks, image, transport):
    run("nbdcopy", "--connections=4", "--requests=32", image, disks.uri("data", transport))
    piped = run("nbdcopy", "--flush", disks.uri("data", transport), "-", text=False).stdout
    same_bytes(piped, image.read_bytes(), "the disk")


def test_holes_take_no_memory(disks, image):
    """nbdcopy --sparse looks at blocks of 4 KiB, so no page is used that was not written."""
    push(image, disks, "data", "--connections=4", "--requests=32")
    assert disks.data("data") == WRITTEN


def test_a_disk_to_a_file_is_sparse_and_equal(disks, image):
    push(image, disks, "data")
    out = same_disk(disks, "data", image, "--connections=4")
    assert os.stat(out).st_blocks * 512 <= WRITTEN + MIB


def test_a_disk_to_a_disk_over_4_connections(disks, image):
    """Both ends are disks here, so nbdcopy knows the holes only from extents."""
    push(image, disks, "data")
    run("nbdcopy", "--connections=4", disks.uri("data"), disks.uri("again"))
    same_disk(disks, "again", image)
    assert disks.data("again") == WRITTEN


@pytest.mark.parametrize("options", [["--connections=4"], ["--allocated"]], ids=["sparse", "allocated"])
def test_a_copy_over_old_data_leaves_none_of_it(disks, image, tmp_path, options):
    """nbdcopy must write or trim zeros, and not leave them out."""
    old = tmp_path / "old"
    old.write_bytes(noise(SIZE))
    run("nbdcopy", old, disks.uri("again"))
    assert disks.data("again") == SIZE
    push(image, disks, "again", *options)
    same_disk(disks, "again", image)


def test_a_disk_of_no_round_size(server, tmp_path):
    server = server(create="odd=1000003")
    image = Path(tmp_path / "odd")
    image.write_bytes(noise(1000003))
    run("nbdcopy", "--synchronous", image, server.uri("odd"))
    same_disk(server, "odd", image)
