"""Commands that cannot be carried out. Each says which option or field is wrong and why, exits with
a failure, and changes nothing."""

import contextlib
import re
import socket
import stat
from pathlib import Path

import pytest

from support.compare import noise
from support.server import BINARY
from support.tools import refused, run


class Bad:
    """A server with disks. A call checks that a command is refused and changes nothing."""

    def __init__(self, server, folder):
        self.server, self.folder = server(create=("data=1G", "taken=1M")), folder
        self.server.run("fork", "taken", "child")
        self.before = self.server.json("list")

    def __call__(self, pattern, *command):
        self.server.refused(pattern, *command)
        self.unchanged()

    def unchanged(self):
        assert self.server.json("list") == self.before


@pytest.fixture
def bad(server, tmp_path):
    (tmp_path / "raw").write_bytes(noise(1 << 20))
    return Bad(server, tmp_path)


@pytest.mark.parametrize("size", [
    "", "x", "1X", "-1", "1.3", "1e9", "0x10", " ", "9E", "99999999999999999999", "8388608T", "1G1", "1..5G"])
def test_a_size_that_is_none(bad, size):
    bad("--size", "create", "new", f"--size={size}")


@pytest.mark.parametrize("pattern, options", [
    ("size of 0 bytes", ["--size", "0"]),
    ("size of .* bytes cannot be had", ["--size", "8000P"]),
    ("--size", [])], ids=["zero", "too-large", "missing"])
def test_a_size_that_cannot_be(bad, pattern, options):
    bad(pattern, "create", "new", *options)


@pytest.mark.parametrize("name", ["a b", "a/b", "../up", ".hidden", "ä", "a@b", "n" * 256],
                         ids=["blank", "slash", "up", "hidden", "letter", "at", "too-long"])
def test_a_name_that_cannot_be(bad, name):
    bad("disk name ", "create", "--size", "1M", "--", name)
    bad("disk name ", "import", "--", name, bad.folder / "raw")
    bad("disk name ", "fork", "data", "--", "fine", name)


@pytest.mark.parametrize("name", ["-", "--help"])
def test_a_name_that_a_command_would_take_for_something_else(bad, name):
    bad("disk name .* begins with a dash", "create", "--size", "1M", "--", name)


def test_what_a_name_has_in_it_does_nothing_to_the_terminal(bad):
    said = bad.server.refused("disk name", "create", "a\n\x1b[31mb", "--size", "1M")
    assert "\x1b" not in said and r"a\u{a}\u{1b}[31mb" in said


def test_an_empty_name(bad):
    bad('disk name "": is empty', "create", "", "--size", "1M")


@pytest.mark.parametrize("command", [
    ["create", "taken", "--size", "1M"], ["import", "taken", "raw"], ["fork", "data", "new", "taken"]],
    ids=lambda command: command[0])
def test_a_name_that_exists(bad, command):
    bad('disk "taken" exists already', *(bad.folder / part if part == "raw" else part for part in command))


@pytest.mark.parametrize("command", [
    ["fork", "nosuch", "new"], ["reset", "nosuch"], ["remove", "data", "nosuch"], ["stat", "nosuch"],
    ["export", "nosuch", "out"]], ids=lambda command: command[0])
def test_a_disk_that_does_not_exist(bad, command):
    out = bad.folder / "out"
    bad('no disk is named "nosuch"', *(out if part == "out" else part for part in command))
    assert not [path for path in bad.folder.iterdir() if path.name.startswith("out")], "nothing is made"


def test_a_reset_of_what_is_no_fork(bad):
    bad('disk "data" is not a fork', "reset", "data")


@pytest.mark.parametrize("pattern, command", [
    ("at least one name", ["fork", "data"]), ("<names>", ["remove"]),
    ("unexpected argument 'extra'", ["create", "new", "--size", "1M", "extra"])],
    ids=["fork", "remove", "extra"])
def test_arguments_missing_or_too_many(bad, pattern, command):
    bad(pattern, *command)


def test_a_command_that_does_not_exist():
    refused("Unexpected argument 'frob'", BINARY, "frob")


@pytest.fixture
def sources(bad):
    """Files that cannot be imported."""
    (bad.folder / "empty").touch()
    (bad.folder / "folder").mkdir()
    return bad


@pytest.mark.parametrize("name, reason", [
    ("nosuch", "{}: No such file"), ("folder", "{}: is a directory"),
    ("/dev/null", "{}: ended before its first byte"), ("empty", "{}: is empty")])
def test_a_file_that_cannot_be_imported(sources, name, reason):
    path = sources.folder / name
    sources(reason.format(path), "import", "new", path)


@pytest.mark.parametrize("name, reason", [
    ("nosuch/out", "{}/nosuch: No such file"), ("folder", "{}/folder: is a directory")])
def test_a_file_that_cannot_be_exported_to(sources, name, reason):
    sources(reason.format(sources.folder), "export", "data", sources.folder / name)


def test_an_export_to_a_device_leaves_it_one(bad):
    bad.server.run("export", "data", "/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("command", [
    "list", "stat", "shrink", "create x --size 1M", "fork a b", "remove a", "reset a"])
def test_a_command_without_a_server(tmp_path, command):
    directory = tmp_path / "nobody"
    refused(f"no server answers in {re.escape(str(directory))}", BINARY, *command.split(), "--directory", directory)
    assert not directory.exists()


@pytest.mark.parametrize("line", [
    b"", b"{}", b"[1]", b"null", b'"list"', b'{"create":{}}', b'{"create":{"name":1,"size":-1}}', b"\xff\xfe",
    b'{"fork":{"source":"data","names":"x"}}', b"[" * 100_000, b"x" * 1_000_000],
    ids=lambda line: repr(line[:20])[1:] + ("" if len(line) < 50 else "..."))
def test_garbage_on_the_control_socket_gets_an_answer(bad, line):
    """The control socket takes HTTP, and lines of JSON from older clients. Other input gets an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(f"{bad.server.directory}/control.sock")
        with contextlib.suppress(BrokenPipeError):  # The server answers as soon as it knows.
            client.sendall(line + b"\n")
        answer = client.recv(1 << 20)
        assert b'"failure"' in answer or re.match(rb"HTTP/1.1 4\d\d ", answer)
    bad.unchanged()


def test_a_silent_client_of_the_control_socket_is_in_nobodys_way(bad):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{bad.server.directory}/control.sock")
        bad.unchanged()
        bad.server.stops_cleanly()


@pytest.mark.parametrize("options", [
    ["nosuch"], ["faults", "--reference", "nosuch"], ["faults", "--spaces", "0"], ["io", "--megabytes", "-1"]])
def test_a_measurement_that_there_is_not(options):
    refused(options[-2] if len(options) > 1 else "nosuch", BINARY, "bench", *options)
