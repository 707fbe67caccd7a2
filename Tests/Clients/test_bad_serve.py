"""Servers that cannot start. Each says which option is wrong and why, exits with a failure, and
leaves no socket behind. A server that runs is not disturbed."""

import os
import re
import socket

import pytest

from support.server import BINARY
from support.tools import refused, run


@pytest.fixture
def serve(tmp_path):
    """serve(PATTERN, OPTION...): checks that a server with these options does not start."""

    def start(pattern, *options):
        directory = tmp_path / "other"
        refused(pattern, BINARY, "serve", "--directory", directory, *options, timeout=60)
        assert not list(directory.glob("*.sock")), "sockets that are left"

    return start


@pytest.mark.parametrize("address", [
    "10809", "host:", ":10809", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", ""])
def test_an_address_that_is_none(serve, address):
    serve("--tcp", f"--tcp={address}")


@pytest.mark.parametrize("disk", ["x", "=1G", "x=0", "x=1X", "a b=1G", "x="])
def test_a_disk_that_cannot_be_created(serve, disk):
    serve(f"--create {disk}", "--create", disk)


def test_two_disks_of_one_name(serve):
    serve("--create x=2G.*exists already", "--create", "x=1G", "--create", "x=2G")


@pytest.mark.parametrize("pattern, image", [
    ("--import x=nosuch.*No such file", "x=nosuch"), ("--import x: write NAME=FILE", "x")],
    ids=["missing", "no-file"])
def test_an_image_that_cannot_be_imported(serve, pattern, image):
    serve(pattern, "--import", image)


def test_an_image_of_another_format(serve, tmp_path):
    image = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    serve("--import x=.*qcow2", "--import", f"x={image}")


@pytest.mark.parametrize("pattern, options", [
    ("--memory", ["--memory", "12Q"]), ("--memory", ["--memory", "1K"]), ("--memory", ["--memory", "4000P"]),
    ("--busy-poll -1", ["--busy-poll=-1"]), ("--busy-poll 10001", ["--busy-poll", "10001"]), ("--busy-poll", ["--busy-poll", "x"]),
    ("--log-level", ["--log-level", "loud"]), ("unknown option '--nosuch'", ["--nosuch"])],
    ids=lambda part: "" if isinstance(part, str) else "-".join(part).strip("-"))
def test_an_option_that_is_wrong(serve, pattern, options):
    serve(pattern, *options)


def test_a_tcp_port_in_use(serve):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        serve(f"--tcp.*{port}.*in use", "--tcp", f"127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_that_other_machines_can_reach(serve, host):
    serve("other machines can reach it.*add --insecure", "--tcp", f"{host}:0")


def test_a_tcp_host_that_is_none(serve):
    serve("--tcp.*nosuch.invalid", "--tcp", "nosuch.invalid:1")


def refused_in(directory, pattern, command="serve"):
    refused(pattern, BINARY, command, "--directory", directory, timeout=60)


def test_a_directory_that_others_can_enter(tmp_path):
    directory = tmp_path / "open"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    refused_in(directory, f"--directory {re.escape(str(directory))}: must be yours")
    assert directory.stat().st_mode & 0o777 == 0o755


def test_a_file_for_a_directory(tmp_path):
    (tmp_path / "file").touch()
    refused_in(tmp_path / "file", "file: is not a directory")


def test_a_link_to_a_directory(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    os.symlink(tmp_path / "mine", tmp_path / "link")
    refused_in(tmp_path / "link", "link: is a link; name the directory")


def test_a_directory_in_one_that_does_not_exist(tmp_path):
    refused_in(tmp_path / "no/where", "no/where: No such")


@pytest.mark.parametrize("command", ["serve", "list"])
def test_a_directory_whose_path_is_too_long_for_a_socket(tmp_path, command):
    refused_in(tmp_path / ("d" * 100), "too long", command)


def test_a_second_server_in_the_same_directory(server):
    server = server(create="data=1G")
    before = server.json("list")
    refused_in(server.directory, f"--directory {re.escape(str(server.directory))}: another hugemem serves there")
    assert server.json("list") == before
    run("nbdinfo", "--size", server.uri("data"))
