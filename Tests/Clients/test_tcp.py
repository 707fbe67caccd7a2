"""TCP in addition to the Unix socket. The server takes a free port and prints it, for IPv4 and
IPv6."""

import re
from pathlib import Path

import pytest

from support.compare import noise, same_bytes, same_files
from support.tools import run

MIB = 1 << 20


@pytest.fixture
def data(server):
    return server("--tcp", "127.0.0.1:0", create="data=1G")


def test_port_0_takes_a_free_port_and_tells_it(data):
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", data.tcp)


def test_it_listens_on_that_address_alone(data):
    """The server listens only to this machine."""
    port = f"{int(data.tcp.rsplit(':')[-1]):04X}"
    listening = [fields[1] for line in Path("/proc/net/tcp").read_text().splitlines()
                 if (fields := line.split())[3] == "0A" and fields[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]


def test_insecure_listens_to_other_machines_too(server):
    server = server("--tcp", "0.0.0.0:0", "--insecure", create="data=1M")
    port = server.tcp.rsplit(":")[-1]
    assert run("nbdinfo", "--size", f"nbd://127.0.0.2:{port}/data").stdout == f"{MIB}\n"


def test_nbdinfo(data):
    assert run("nbdinfo", "--size", data.uri("data", "tcp")).stdout == f"{1 << 30}\n"
    assert 'export="data"' in run("nbdinfo", "--list", f"nbd://{data.tcp}").stdout


def test_nbdcopy_over_4_connections(data, tmp_path):
    image, out = tmp_path / "in", tmp_path / "out"
    image.write_bytes(noise(64 * MIB))
    run("nbdcopy", "--connections=4", image, data.uri("data", "tcp"))
    run("nbdcopy", "--connections=4", data.uri("data", "tcp"), out)
    same_files(out, image, 64 * MIB)


def test_it_is_the_same_disk_by_tcp_and_by_the_unix_socket(data):
    data.io("data", "write -P 3 64M 1M", transport="tcp")
    data.io("data", "read -P 3 64M 1M")


def test_a_fork_by_its_name(data):
    original = noise(MIB)
    data.go("data").write(0, original)
    data.io("data@job", "write -P 4 0 1M", "read -P 4 0 1M", transport="tcp")
    same_bytes(data.go("data").read(0, MIB), original, "the origin")


def test_the_same_port_again_at_once(data, server):
    """Recent connections are still in TIME_WAIT."""
    address = data.tcp
    run("nbdinfo", "--size", data.uri("data", "tcp"))
    data.stops_cleanly()
    again = server("--tcp", address, create="data=1G")
    assert again.tcp == address
    run("nbdinfo", "--size", again.uri("data", "tcp"))


def test_ipv6(server):
    addresses = Path("/proc/net/if_inet6")
    if not addresses.exists() or not re.search(r" lo$", addresses.read_text(), re.MULTILINE):
        pytest.skip("this machine has no IPv6")
    server = server("--tcp", "[::1]:0", create="data=1G")
    assert re.fullmatch(r"\[::1\]:[1-9]\d*", server.tcp)
    assert run("nbdinfo", "--size", server.uri("data", "tcp")).stdout == f"{1 << 30}\n"
