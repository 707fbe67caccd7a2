"""Disks as people use them: read-only ones, names, descriptions, and lineage."""

import os
import re
import struct

import pytest

from support.compare import noise, same_bytes
from support.tools import run
from support.wire import EPERM, FLUSH, INFO, LIST, READ, RESIZE, TRIM, WRITE, WRITE_ZEROES, text

MIB = 1 << 20


@pytest.fixture
def golden(server):
    server = server(create="golden=1M")
    server.go("golden").write(0, b"golden" * 1000)
    return server


# Read-only


def refuses_writes(wire):
    for request in ((WRITE, 0, 3, 0, b"abc"), (TRIM, 0, 4096), (WRITE_ZEROES, 0, 4096), (RESIZE, 2 * MIB)):
        assert wire.error(*request) == EPERM, request
    assert wire.error(FLUSH) == 0
    same_bytes(wire.read(0, 6000), b"golden" * 1000, "the disk")


def test_a_read_only_disk_refuses_writes_of_old_and_new_clients(golden):
    old = golden.go("golden")
    golden.run("set", "golden", "--read-only")
    refuses_writes(old)
    new = golden.go("golden")
    assert new.flags & 2, "clients see the flag"
    assert not new.flags & (1 << 5 | 1 << 6 | 1 << 9 | 1 << 11), "what cannot be done is not announced"
    refuses_writes(new)
    assert golden.disk("golden")["isReadOnly"]
    assert "is_read_only: true" in run("nbdinfo", golden.uri("golden")).stdout
    golden.run("set", "golden", "--read-write")
    old.write(0, b"x")
    assert not golden.go("golden").flags & 2


def test_forks_of_a_read_only_disk_can_be_written_unless_asked_otherwise(golden):
    golden.run("set", "golden", "--read-only")
    golden.run("fork", "golden", "job")
    golden.run("fork", "golden", "frozen", "--read-only")
    for name in ("job", "golden@connected", "golden@"):
        golden.go(name).write(0, b"mine")
    refuses_writes(golden.go("frozen"))
    golden.run("reset", "job")
    same_bytes(golden.go("job").read(0, 6000), b"golden" * 1000, "a reset is no write of a client")


def test_imports_and_created_disks_may_be_read_only(golden, tmp_path):
    (tmp_path / "image").write_bytes(b"golden" * 1000 + bytes(2192))
    golden.run("import", "image", tmp_path / "image", "--read-only", "--description", "from a file")
    refuses_writes(golden.go("image"))
    golden.run("create", "empty", "--size", "1M", "--read-only")
    assert golden.go("empty").error(WRITE, 0, 1, 0, b"x") == EPERM
    assert golden.disk("image")["description"] == "from a file"
    listed = golden.run("list").stdout
    assert re.search(r"^image .* read .*from a file$", listed, re.MULTILINE), listed


def test_qemu_sees_that_a_disk_is_read_only(golden):
    golden.run("set", "golden", "--read-only")
    done = golden.qemu_io("golden", "write 0 4k")
    assert re.search("read.only|permi", done.stdout + done.stderr, re.IGNORECASE)
    run("qemu-io", "-r", "-f", "raw", "-c", "read 0 4k", golden.uri("golden"))


@pytest.mark.parametrize("arguments, wanted", [
    (["golden"], "say what to change"), (["golden", "--read-only", "--read-write"], "use one of them"),
    (["nosuch", "--read-only"], "no disk is named"), (["golden", "--description", "x" * 256], "longer than 255"),
    (["golden", "--description", "two\nlines"], "control characters")])
def test_options_that_cannot_be(golden, arguments, wanted):
    golden.refused(wanted, "set", *arguments)


# Names and descriptions


def test_a_rename_keeps_clients_contents_and_lineage(golden):
    wire = golden.go("golden")
    golden.run("fork", "golden", "job")
    golden.run("rename", "golden", "base")
    wire.write(0, b"after ")
    same_bytes(golden.go("base").read(0, 12), b"after golden", "the disk by its new name")
    assert golden.disk("base")["connections"] == 3
    assert golden.disk("job")["origin"] == "base"
    golden.go("base@job").write(0, b"x")
    wire.close()
    golden.run("reset", "job")
    same_bytes(golden.go("job").read(0, 6), b"golden", "a fork after the rename")
    for wire in golden.wires:
        wire.close()
    golden.remove("base")
    golden.run("create", "base", "--size", "2M")
    assert not golden.disk("job")["hasOrigin"], "another disk of that name is not its origin"


@pytest.mark.parametrize("old, new, wanted", [
    ("golden", "golden", "exists already"), ("golden", "other", "exists already"), ("nosuch", "x", "no disk is named"),
    ("golden", "a/b", "contains"), ("golden", "", "is empty"), ("golden", "a@b", "contains")])
def test_renames_that_cannot_be(golden, old, new, wanted):
    golden.run("create", "other", "--size", "1M")
    golden.refused(wanted, "rename", old, new)
    assert golden.names() == ["golden", "other"]


def test_a_temporary_fork_has_no_name_to_change(golden):
    wire = golden.go("golden@")
    (temporary,) = [name for name in golden.names() if name != "golden"]
    golden.refused("no disk is named", "rename", temporary, "kept")
    wire.close()


def test_clients_see_the_description_in_info_and_list(golden):
    assert "hugemem RAM disk" in run("nbdinfo", golden.uri("golden")).stdout
    golden.run("set", "golden", "--description", "Debian 12, für CI")
    assert "Debian 12, für CI" in run("nbdinfo", golden.uri("golden"), env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    replies = golden.wire().option(LIST)
    assert text("golden") + "Debian 12, für CI".encode() in [payload for _, payload in replies]
    infos = golden.wire().option(INFO, text("golden") + struct.pack(">HH", 1, 2))
    assert "Debian 12, für CI".encode() in [payload[2:] for _, payload in infos]
    golden.run("set", "golden", "--description", "")
    assert "description" not in golden.disk("golden")


# Lineage


def tree(server):
    lines = server.run("list", "--tree").stdout.splitlines()[1:]
    return [(len(line) - len(line.lstrip()), line.split()[0]) for line in lines]


def test_the_tree_shows_forks_below_their_origin(golden):
    golden.run("fork", "golden", "a", "b")
    golden.run("fork", "a", "a1", "a2")
    golden.run("create", "zebra", "--size", "1M")
    assert tree(golden) == [(0, "golden"), (2, "a"), (4, "a1"), (4, "a2"), (2, "b"), (0, "zebra")]
    golden.remove("a")
    assert tree(golden) == [(0, "a1"), (0, "a2"), (0, "golden"), (2, "b"), (0, "zebra")]
    assert "fork of a, which is gone" in golden.run("list", "--tree").stdout


def test_a_chain_of_300_is_shown(golden):
    previous = "golden"
    for number in range(300):
        golden.run("fork", previous, f"f{number}")
        previous = f"f{number}"
    found = golden.run("list", "--tree").stdout.splitlines()[1:]
    assert len(found) == 301 and "f299" in found[-1] and "300" in found[-1]
    assert max(map(len, found)) < 120


def test_forks_from_a_file_of_names(golden, tmp_path):
    names = tmp_path / "names"
    names.write_text("# the jobs of tonight\njob1\n\n  \njob2\r\njob3")
    golden.run("fork", "golden", "--names", names)
    assert golden.names() == ["golden", "job1", "job2", "job3"]
    golden.run("fork", "golden", "more", "--names", "-", input="job4\n")
    assert golden.names()[-2:] == ["job4", "more"]


@pytest.mark.parametrize("content, wanted", [
    ("", "has no name"), ("# only this\n", "has no name"), ("a\na\n", "exists already"), ("good\nb/d\n", "contains"),
    ("good\ngolden\n", "exists already"), ("\x00\n", "contains"), ("x" * 300, "longer than 255")])
def test_files_of_names_that_cannot_be(golden, tmp_path, content, wanted):
    (tmp_path / "names").write_text(content)
    golden.refused(wanted, "fork", "golden", "--names", tmp_path / "names")
    assert golden.names() == ["golden"], "all forks are made, or none"


def test_a_file_of_names_that_is_not_there(golden, tmp_path):
    golden.refused("No such file", "fork", "golden", "--names", tmp_path / "nosuch")
    golden.refused("is a directory", "fork", "golden", "--names", tmp_path)
