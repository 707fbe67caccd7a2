"""Memory that a server must not take, or cannot: it is refused, and left as it was, byte for byte."""

import contextlib
import hashlib
import os
import re
import signal
import struct

import pytest

from support.compare import noise, same_bytes
from support.crc32c import crc32c
from support.memory_file import data_of
from support.server import BINARY
from support.tools import refused

MIB = 1 << 20


def hashed(path):
    """A hash of a sparse file: its length, and where it has data and which."""
    found = hashlib.sha256(str(os.path.getsize(path)).encode())
    for at, piece in data_of(path):
        # Where the kernel has zeros and where it has holes is its own affair.
        for page in range(0, len(piece), 4096):
            if any(piece[page:page + 4096]):
                found.update(struct.pack("<Q", at + page) + piece[page:page + 4096])
    return found.hexdigest()


@pytest.fixture
def file(shared_memory):
    return shared_memory / "memory"


def start(tmp_path, file, *more):
    return [BINARY, "serve", "--directory", str(tmp_path / "run"), "--memory", "64M", "--memory-file", str(file), *more]


@pytest.fixture
def filled(survivor, file):
    """A server that was killed, and whose disks have 20 MiB."""
    one = survivor(create="disk=32M", memory="64M", file=file)
    one.write("disk", 0, noise(20 * MIB, 1))
    one.run("fork", "disk", "fork")
    one.write("fork", 10 * MIB, b"f" * 4096)
    return one


def is_whole(one):
    same_bytes(one.read("disk", 0, 20 * MIB), noise(20 * MIB, 1), "disk")
    same_bytes(one.read("fork", 10 * MIB, 8192), b"f" * 4096 + noise(20 * MIB, 1)[10 * MIB + 4096:10 * MIB + 8192], "fork")


@pytest.mark.parametrize("data", [
    b"x", b"#!/bin/sh\nexit 0\n", noise(100_000, 3), bytes(1080) + b"\x53\xef" + bytes(7000), bytes(65_600) + b"_BHRfS_M",
    bytes(4096) + b"x", b"HUGEMEM\0", b"HUGEMEM\0" + noise(4096, 1),
], ids=["a byte", "a script", "noise", "ext4", "btrfs", "one byte after zeros", "only the magic", "the magic and noise"])
def test_a_file_of_something_else(tmp_path, file, data):
    file.write_bytes(data)
    os.chmod(file, 0o600)
    refused("--memory-file .*(is no memory of hugemem|is damaged).*left as it (is|was)|is damaged and was left", *start(tmp_path, file))
    assert file.read_bytes() == data


def test_an_empty_file_is_a_new_one(survivor, file):
    file.touch(0o600)
    one = survivor(create="disk=1M", memory="64M", file=file)
    one.write("disk", 0, b"x")
    one.again()
    assert one.read("disk", 0, 2) == b"x\0"


def header(file):
    return list(struct.unpack("<11Q", file.open("rb").read(88)))


def change(file, words, whole=True):
    """Puts other numbers into the header, with the right checksum or as they are."""
    if whole:
        words[9] = crc32c(struct.pack("<8Q", *words[1:9]))
    with file.open("r+b") as open_file:
        open_file.write(struct.pack("<11Q", *words))


@pytest.mark.parametrize("case", ["another version", "another layout", "a wrong checksum", "no magic", "version and no checksum"])
def test_another_format(filled, file, case):
    filled.kill()
    right = header(file)
    assert right[9] == crc32c(struct.pack("<8Q", *right[1:9])), "the checksum is CRC-32C of what the header says"
    words = list(right)
    if case == "another layout":
        words[6] += 4096
    elif case == "a wrong checksum":
        words[9] ^= 1
    elif case == "no magic":
        words[0] ^= 1 << 20
    else:
        words[1] = 7
    change(file, words, whole=case in ("another version", "another layout"))
    before = hashed(file)
    sentence = {
        "another version": "the memory has format 7, and this hugemem knows format 1; it was left as it is",
        "another layout": "damaged and was left as it is: its layout",
        "a wrong checksum": "damaged and was left as it is: the checksum",
        "no magic": "is no memory of hugemem",
        "version and no checksum": "damaged and was left as it is: the checksum",
    }[case]
    filled.refused(sentence)
    assert hashed(file) == before
    change(file, right, whole=False)
    filled.start()
    is_whole(filled)


def test_a_file_whose_end_is_missing(filled, file):
    """As after an incomplete copy. What was there is lost, so nobody takes the file for whole."""
    filled.kill()
    length = os.path.getsize(file)
    # The disks have 20 MiB from 262 MiB on.
    for size in (length - 1, 270 * MIB, 263 * MIB, 5 * MIB, 4096):
        os.truncate(file, size)
        before = hashed(file)
        filled.refused(f"cut short,? and was left as it is: it has {size} bytes of {length}")
        assert hashed(file) == before
        if size == 270 * MIB:
            os.truncate(file, length)
            filled.start()
            same_bytes(filled.read("disk", 0, MIB), noise(20 * MIB, 1)[:MIB], "disk")
            filled.kill()
    os.truncate(file, 0)
    filled.start()
    assert filled.disk("disk")["size"] == 32 * MIB, "an empty file is a new one"


def test_a_first_start_that_fails_makes_nothing(survivor, server, tmp_path, file):
    """Corrected, the same command line has the disks that it says, and none of the mistaken one."""
    for number in range(2):
        other = server(create=f"saved{number}=8M", memory="64M")
        other.go(f"saved{number}").write(0, noise(MIB, number))
        other.run("checkpoint", tmp_path / f"cp{number}")
    one = survivor(memory="64M", file=file)
    one.kill()
    file.unlink()
    one.refused("--create bad=0", "--restore", tmp_path / "cp0", "--create", "new=2M", "--create", "bad=0")
    one.refused("--import image=", "--restore", tmp_path / "cp0", "--create", "new=2M", "--import", f"image={tmp_path}/none")
    one.start("--restore", tmp_path / "cp1", "--create", "new=3M")
    assert sorted(one.names()) == ["new", "saved1"] and one.disk("new")["size"] == 3 * MIB
    same_bytes(one.read("saved1", 0, MIB), noise(MIB, 1), "saved1")
    one.again("--restore", tmp_path / "cp0")
    assert sorted(one.names()) == ["new", "saved1"]
    assert "--restore does nothing, since there are disks" in one.log.read_text()


def test_a_file_that_is_cut_ends_the_server_at_once(filled, file):
    """A fault of memory ends it, without a long farewell: nobody waits for a server that hangs."""
    length = os.path.getsize(file)
    os.truncate(file, 262 * MIB)
    # Whoever touches it first.
    with contextlib.suppress(OSError, EOFError):
        filled.read("disk", 10 * MIB, 4096)
    assert filled.process.wait(20) == -signal.SIGBUS
    filled.server = None
    filled.refused("cut short")
    os.truncate(file, length)
    filled.start()


def test_a_reserve_that_no_longer_fits(filled):
    filled.run("limit", "disk", "--reserve", "30M")
    filled.kill()
    for _ in range(2):
        filled.refused("cannot be kept.*limit --memory", "--memory", "24M", options=filled.options[2:])
    filled.start()
    is_whole(filled)
    assert filled.disk("disk")["reserve"] == 30 * MIB


@pytest.mark.parametrize("wrong", [
    ["--import", "new=/nonexistent/image"], ["--create", "disk/=1M"], ["--create", "new=0"],
    ["--tcp", "127.0.0.1:1x"], ["--tcp", "192.0.2.1:9"], ["--http", "192.0.2.1:9"], ["--unix", "/nonexistent/directory/socket"],
    ["--rules", "/nonexistent/rules"], ["--tls-certificates", "/nonexistent"], ["--restore", "/nonexistent"],
], ids=lambda wrong: " ".join(wrong) if isinstance(wrong, list) else "")
def test_a_start_that_fails_for_another_reason(filled, wrong):
    filled.kill()
    if wrong[0] == "--restore":
        # There are disks, so nothing is restored, nor looked at.
        filled.start(*wrong)
        filled.kill()
    else:
        filled.refused(".", *wrong)
    filled.start()
    is_whole(filled)
    assert filled.names() == ["disk", "fork"]


@pytest.mark.parametrize("memory", ["16M", "24M", "1G"])
def test_another_limit_than_before(filled, memory):
    """Less than is in use: what is there can be read, and what is not has no room until something goes."""
    filled.kill()
    filled.start(options=[*filled.options[2:], "--memory", memory])
    is_whole(filled)
    used = filled.in_use()
    wire = filled.go("disk")
    errors = {wire.error(1, at * MIB, MIB, 0, b"n" * MIB) for at in range(20, 32)}
    filled.leave(wire)
    assert errors == ({0} if memory == "1G" else {28} if memory == "16M" else {0, 28}), errors
    is_whole(filled)
    if memory != "1G":
        assert used > 16 * MIB
        filled.remove("fork")
        wire = filled.go("disk")
        assert wire.error(4, 0, 32 * MIB) == 0
        filled.leave(wire)
        filled.write("disk", 0, b"n" * 8 * MIB)
        filled.again()
        same_bytes(filled.read("disk", 0, 8 * MIB), b"n" * 8 * MIB, "disk")


def test_two_servers_on_one_file(filled, tmp_path, file):
    refused(f"the server with process number {filled.process.pid} uses it", *start(tmp_path, file))
    is_whole(filled)


def test_two_servers_on_one_keeper(survivor):
    one = survivor(create="disk=1M")
    one.refused("another hugemem serves there", options=one.options)
    one.write("disk", 0, b"x")
    one.again()
    assert one.read("disk", 0, 1) == b"x"


def test_a_server_that_does_not_use_what_is_kept_says_so(survivor):
    one = survivor(create="disk=1M")
    one.write("disk", 0, b"kept")
    one.kill()
    one.start(options=["--memory", "64M"])
    assert one.names() == []
    assert re.search("keeper has memory of an earlier server.*keeper end", one.log.read_text())
    one.kill()
    one.start()
    assert one.read("disk", 0, 4) == b"kept"


def test_what_is_restored_is_restored_once(survivor, server, tmp_path):
    other = server(create="golden=8M", memory="64M")
    other.go("golden").write(0, b"saved" * 1000)
    other.run("fork", "golden", "fork")
    other.run("checkpoint", tmp_path / "saved")
    one = survivor("--restore", tmp_path / "saved")
    assert one.names() == ["fork", "golden"]
    one.write("fork", 0, b"newer")
    one.again()
    assert one.read("fork", 0, 10) == b"newersaved" and one.read("golden", 0, 5) == b"saved"
    assert {disk["name"]: disk.get("origin") for disk in one.json("list")} == {"fork": "golden", "golden": None}
    one.run("reset", "fork")
    assert one.read("fork", 0, 10) == b"savedsaved"


def test_a_read_only_tmpfs(mounted, tmp_path):
    path = mounted("tmpfs", "ro")
    refused("make .*Read-only file system", *start(tmp_path, path / "memory"))


def test_a_tmpfs_with_too_little_room(mounted, tmp_path):
    path = mounted("tmpfs", "size=32M")
    refused("room for 32 MiB, and the server needs 72 MiB.*lower --memory", *start(tmp_path, path / "memory"))
