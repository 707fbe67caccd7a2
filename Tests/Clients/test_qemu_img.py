"""qemu-img: info, map, compare, dd and convert, from and to qcow2."""

import json

import pytest

from support.compare import same_files
from support.tools import refused, run

MIB = 1 << 20
# The second run of data does not begin at a page boundary: 102398 KiB is in the middle of a page.
WRITTEN = 96 * MIB + 4096


@pytest.fixture
def image(tmp_path):
    """A qcow2 image with 96 MiB of data: at the beginning, across a 2 MiB boundary, and at the
    end."""
    path = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "256M")
    run("qemu-io", "-c", "write -P 17 0 64M", "-c", "write -P 18 102398k 16M",
        "-c", "write -P 19 240M 16M", path)
    return path


@pytest.fixture
def disks(server, image):
    """The disk `data` has the image. qemu-img may have written it in any order."""
    server = server(create=("data=256M", "copy=256M", "larger=257M"))
    run("qemu-img", "convert", "-n", "-W", "-m", "8", "-O", "raw", image, server.uri("data"))
    return server


def compare(*arguments):
    run("qemu-img", "compare", *arguments)


def test_convert_from_qcow2_out_of_order(disks, image):
    compare("-f", "qcow2", "-F", "raw", image, disks.uri("data"))


def test_convert_keeps_holes(disks):
    assert disks.data("data") == WRITTEN


def test_info(disks):
    info = json.loads(run("qemu-img", "info", "--output=json", disks.uri("data")).stdout)
    assert (info["virtual-size"], info["format"]) == (256 * MIB, "raw")


def test_map(disks):
    extents = json.loads(run("qemu-img", "map", "--output=json", disks.uri("data")).stdout)
    assert sum(extent["length"] for extent in extents if extent["data"]) == WRITTEN
    assert sum(extent["length"] for extent in extents if extent["zero"]) == 256 * MIB - WRITTEN


def test_convert_to_qcow2(disks, image, tmp_path):
    back = tmp_path / "back.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disks.uri("data"), back)
    compare("-f", "qcow2", "-F", "qcow2", image, back)
    run("qemu-img", "check", "-q", back)


def test_convert_disk_to_disk(disks):
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", disks.uri("data"), disks.uri("copy"))
    compare("-s", "-f", "raw", "-F", "raw", disks.uri("data"), disks.uri("copy"))


def test_compare_finds_one_byte_and_names_the_place(disks):
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", disks.uri("data"), disks.uri("copy"))
    disks.io("copy", "write -P 99 123456789 1")
    refused("mismatch at offset 123456", "qemu-img", "compare", "-f", "raw", "-F", "raw",
            disks.uri("data"), disks.uri("copy"))


def test_dd(disks, image, tmp_path):
    part, raw = tmp_path / "part", tmp_path / "raw"
    run("qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=1M", "count=80", f"if={disks.uri('data')}", f"of={part}")
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
    same_files(part, raw, 80 * MIB)


def test_convert_to_a_larger_disk(disks):
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", disks.uri("data"), disks.uri("larger"))
    compare("-f", "raw", "-F", "raw", disks.uri("data"), disks.uri("larger"))
