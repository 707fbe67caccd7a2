"""The configuration file of `serve`, and --check."""

import json
import os
import re

import pytest

from support.compare import eventually
from support.server import BINARY
from support.tools import refused, run


@pytest.fixture
def config(tmp_path):
    """config(TEXT): a file with this text."""
    def write(text):
        file = tmp_path / "hugemem.toml"
        file.write_text(text)
        return file

    return write


def test_a_server_of_a_file(config, server):
    made = server("--config", config("""
        # Each key is an option.
        memory = "256M"
        create = ["a=1G", "b=2M"]
        tcp = "127.0.0.1:0"
        max-disks = 5
        no-connect-forks = true
        """))
    assert made.names() == ["a", "b"] and "over TCP" in made.said() and "memory limit 256 MiB" in made.said()
    assert run("nbdinfo", made.uri("a@x"), check=False).returncode != 0
    made.refused("limit of 5", "fork", "a", "c", "d", "e", "f")


def test_the_command_line_counts(config, server):
    text = 'memory = "256M"\ncreate = "a=1M"\n'
    made = server("--memory", "128M", "--create", "b=1M", f"--config={config(text)}")
    assert made.names() == ["a", "b"] and "memory limit 128 MiB" in made.said()


def test_every_option_has_a_key(config):
    """The message about a key that does not exist names all options of --help, but for three."""
    shown = refused("there is no option", BINARY, "serve", "--config", config("nosuch = 1"))
    keys = set(shown.split("the options: ")[1].split("\n")[0].split(", "))
    options = set(re.findall(r"^  (?:-h, )?--([a-z-]+)", run(BINARY, "serve", "--help").stdout, re.M))
    assert keys == options - {"help", "version", "config", "check"} and len(keys) > 20


@pytest.mark.parametrize("text, says", [
    ("memory = ", "line 1, column 10"),
    ("\n\ncreate = [1\n", "line"),
    ("memory = \"lots\"", "lots"),
    ("memory = [\"1G\"]", "memory: takes one value"),
    ("insecure = 1", "insecure: write true or false"),
    ("create = [[\"a=1M\"]]", "create: write text or a number"),
    ("max-disks = 1.5", "max-disks: write text or a number"),
    ("[memory]\na = 1", "memory: write text or a number"),
    ("rules = \"/nosuch\"", "/nosuch"),
    ("check = true", "there is no option \"check\""),
])
def test_what_is_refused(config, text, says, tmp_path):
    for more in ((), ("--check",)):
        refused(re.escape(says), BINARY, "serve", "--directory", tmp_path / "d", "--config", config(text), *more)


@pytest.mark.parametrize("path", ["/nosuch", "/dev/zero", ".", ""])
def test_a_file_that_is_none(path):
    refused("", BINARY, "serve", "--config", path, "--check")
    refused("name one file", BINARY, "serve", "--config", "a", "--config=b")


def test_check_serves_nothing(config, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"x" * 4096)
    done = run(BINARY, "serve", "--directory", tmp_path / "d", "--check", "--import", f"a={image}", "--config", config("memory = '1G'"))
    assert done.stdout == "hugemem: the options are good\n" and not (tmp_path / "d").exists()
    refused("nosuch", BINARY, "serve", "--check", "--import", f"a={tmp_path}/nosuch")


@pytest.mark.parametrize("options", [
    ("--create", "a/b=1G"), ("--create", "a=1G", "--create", "a=2G"), ("--create", "a=0"), ("--memory", "1K"),
    ("--import", "b/d=/dev/null"), ("--http", "0.0.0.0:0"), ("--http", "nosuchhost.invalid:1")])
def test_check_refuses_what_a_start_refuses(options, tmp_path):
    for more in ((), ("--check",)):
        refused(options[0], BINARY, "serve", "--directory", tmp_path / "d", *options, *more)


@pytest.mark.parametrize("made", [
    lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/null"), lambda path: os.mkfifo(path),
    lambda path: path.touch(0o644), None], ids=["directory", "link", "pipe", "open to others", "no room"])
def test_check_refuses_a_memory_file_that_a_start_refuses(made, shared_memory, tmp_path):
    path = shared_memory / "memory"
    if made:
        made(path)
    for more in ((), ("--check",)):
        said = refused(f"--memory-file {path}: ", BINARY, "serve", "--directory", tmp_path / "d", "--memory", "64M" if made else "7T",
                       "--memory-file", path, *more)
        assert said.count(str(path)) == 1
    assert path.exists() == bool(made)


def test_check_makes_no_memory_file(shared_memory, tmp_path):
    run(BINARY, "serve", "--check", "--directory", tmp_path / "d", "--memory", "64M", "--memory-file", shared_memory / "memory")
    assert not (shared_memory / "memory").exists()


def test_check_waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    run(BINARY, "serve", "--check", "--import", f"a={tmp_path}/pipe", timeout=20)


def test_a_fault_in_a_value_names_the_file(config, tmp_path):
    said = refused("banana", BINARY, "serve", "--directory", tmp_path / "d", "--config", config('memory = "banana"'))
    assert "come from the file" in said


@pytest.mark.parametrize("format", ["text", "logfmt", "json"])
def test_log_formats(format, server):
    made = server("--log-format", format, "--log-level", "info", create="a=1M")
    made.run("fork", "a", "b")
    made.refused("no disk is named", "remove", "no\tsuch \"disk\"")
    made.run("remove", "b")
    eventually(lambda: "removed" in made.log.read_text(), "the log has the end of the disk")
    lines = made.log.read_text().splitlines()
    if format == "json":
        events = [json.loads(line) for line in lines]
        assert all({"time", "level", "message"} <= set(event) for event in events)
        found = [(event["message"], event["disk"]) for event in events if "disk" in event]
    else:
        pattern = r"hugemem: (disk \w+) disk=(\w+)" if format == "text" else r'level=info msg="(disk \w+)" disk=(\w+)'
        found = [match.groups() for line in lines if (match := re.search(pattern, line))]
        assert all(re.match(r"(time=)?\d{4}-\d\d-\d\dT[\d:]+Z ", line) for line in lines)
    assert found == [("disk created", "a"), ("disk forked", "b"), ("disk removed", "b")]
