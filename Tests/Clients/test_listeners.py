"""Several listeners at once: TCP on several addresses, more Unix sockets, and vsock."""

import os
import re
import socket
from pathlib import Path

import pytest

from support.compare import same_bytes
from support.server import BINARY
from support.tools import refused, run
from support.wire import ACK, STRUCTURED_REPLY, Wire

MIB = 1 << 20


def has_ipv6():
    addresses = Path("/proc/net/if_inet6")
    return addresses.exists() and re.search(r" lo$", addresses.read_text(), re.MULTILINE)


def addresses(server):
    return re.findall(r"over TCP: nbd://(\S+)/NAME", server.said())


def test_two_tcp_addresses_and_two_unix_sockets_are_one_server(server, tmp_path):
    paths = [tmp_path / "one.sock", tmp_path / "two.sock"]
    server = server("--tcp", "127.0.0.1:0", "--tcp", "127.0.0.2:0", "--unix", paths[0], "--unix", paths[1],
                    create="data=1M")
    assert len(addresses(server)) == 2
    server.io("data", "write -P 5 0 4k")
    for uri in [f"nbd://{address}/data" for address in addresses(server)] + [
            f"nbd+unix:///data?socket={path}" for path in paths]:
        run("qemu-io", "-f", "raw", "-c", "read -P 5 0 4k", uri)
    for path in paths:
        assert f"nbd+unix:///NAME?socket={path}" in server.said()
    server.stops_cleanly()
    assert not any(path.exists() for path in paths), "the sockets are gone with the server"


def test_an_empty_host_listens_on_every_family_at_one_port(server):
    server = server("--tcp", ":0", "--insecure", create="data=1M")
    found = addresses(server)
    ports = {address.rsplit(":", 1)[1] for address in found}
    assert len(ports) == 1
    (port,) = ports
    assert f"0.0.0.0:{port}" in found
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert f"[::]:{port}" in found
    for host in ("127.0.0.1", "[::1]"):
        assert run("nbdinfo", "--size", f"nbd://{host}:{port}/data").stdout == f"{MIB}\n"


def test_a_host_name(server):
    server = server("--tcp", "localhost:0", create="data=1M")
    port = addresses(server)[0].rsplit(":", 1)[1]
    assert run("nbdinfo", "--size", f"nbd://localhost:{port}/data").stdout == f"{MIB}\n"


def test_vsock(server):
    try:
        probe = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        probe.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    except (OSError, AttributeError) as error:
        pytest.skip(f"no vsock: {error}")
    port = probe.getsockname()[1]
    probe.close()
    server = server("--vsock", port, "--insecure", create="data=1M")
    assert f"over vsock: nbd+vsock://2:{port}/NAME" in server.said()
    client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    client.settimeout(10)
    try:
        client.connect((1, port))  # VMADDR_CID_LOCAL
    except OSError as error:
        pytest.skip(f"the server listens on vsock; this kernel has no loopback for it: {error}")
    wire = Wire(client)
    assert wire.status(STRUCTURED_REPLY) == ACK
    wire.go("data", structured=False).write(0, b"by vsock")
    same_bytes(server.go("data").read(0, 8), b"by vsock", "what a client of vsock wrote")


@pytest.mark.parametrize("name, prepare", [
    ("file", lambda path: path.write_text("precious")),
    ("directory", lambda path: path.mkdir()),
    ("link", lambda path: path.symlink_to("nosuch"))])
def test_a_unix_socket_replaces_nothing_but_a_dead_socket(tmp_path, name, prepare):
    path = tmp_path / name
    prepare(path)
    refused(f"--unix .*{name}: .*in use", BINARY, "serve", "--directory", tmp_path / "run", "--unix", path, timeout=20)
    assert os.path.lexists(path)
    if name == "file":
        assert path.read_text() == "precious"


@pytest.mark.parametrize("options, wanted", [
    (["--unix", "/nosuch/socket"], "--unix /nosuch/socket: .*No such file"),
    (["--unix", "/tmp/" + "x" * 120], "longer than"),
    (["--tcp", "127.0.0.1"], "write HOST:PORT"),
    (["--tcp", "nosuch.invalid:1"], "--tcp nosuch.invalid:1: host"),
    (["--tcp", "192.0.2.1:0", "--insecure"], "192.0.2.1"),
    (["--vsock", "12345"], "add --insecure"),
    (["--vsock", "x"], "vsock"),
    (["--tcp", "127.0.0.1:0", "--tcp", ":0"], "other machines can reach it")])
def test_listeners_that_cannot_be(tmp_path, options, wanted):
    refused(wanted, BINARY, "serve", "--directory", tmp_path / "run", *options, timeout=20)
