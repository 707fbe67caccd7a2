"""Disks outlive a server that is killed, stopped or replaced, with all that they are."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.compare import eventually
from support.http import API
from support.keeper import Keeper
from support.server import BINARY, Server
from support.tools import run
from support.wire import ENOSPC

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(params=["keeper", "name"])
def memory(request, tmp_path):
    """The options of a server on memory that lasts as long as the test."""
    if request.param == "keeper":
        yield ("--survive",)
    else:
        path = Path("/dev/shm") / f"hugemem-{os.getpid()}-{tmp_path.name}"
        yield ("--memory-file", path)
        path.unlink(missing_ok=True)


@pytest.fixture
def start(tmp_path, memory):
    """start(OPTION...): a server in one directory, on the memory of the one before it."""
    servers = []

    def start(*options, directory=tmp_path / "server"):
        servers.append(Server(directory, *memory, *(options or ("--memory", "256M"))))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
    subprocess.run([BINARY, "keeper", "end", "--directory", str(tmp_path / "server")], capture_output=True)


def described(server):
    """What a list says of each disk, but for tables, which the background makes and removes."""
    kept = ("size", "origin", "description", "isReadOnly", "quota", "reserve", "data")
    return {disk["name"]: {key: disk.get(key) for key in kept} for disk in server.json("list")}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_disk_is_there_with_all_that_it_is(start, how):
    server = start("--memory", "256M", "--create", "golden=64M")
    server.go("golden").write(5 * MIB + 100, b"golden" * 1000)
    server.run("fork", "golden", "job")
    server.run("limit", "job", "--quota", "32M", "--reserve", "8M")
    server.run("set", "golden", "--read-only", "--description", "a \"golden\" image, für alle")
    job = server.go("job")
    job.write(0, b"j" * 3 * MIB)
    server.run("rename", "golden", "gold")
    server.run("resize", "job", "128M")
    server.go("gold@made")
    before = described(server)
    server.process.send_signal(how)
    server.process.wait(20)

    server = start("--memory", "256M", "--create", "other=1M")
    assert described(server) == {**before, "other": described(server)["other"]}
    job = server.go("job")
    assert job.read(0, 3 * MIB) == b"j" * 3 * MIB
    assert job.read(5 * MIB + 100, 6000) == b"golden" * 1000
    assert server.go("gold").flags & 2, "it is read-only"
    # What a reset restores, and its size then.
    server.run("reset", "job")
    assert server.disk("job")["size"] == 64 * MIB
    assert server.go("job").read(0, 3 * MIB) == bytes(3 * MIB)
    # A quota counts what was there already.
    job = server.go("job")
    written = 0
    while job.error(1, written, MIB, 0, b"q" * MIB) == 0:
        written += MIB
    assert 30 * MIB <= written <= 32 * MIB


def test_the_same_command_line_starts_it_again(start, tmp_path):
    (tmp_path / "image").write_bytes(b"i" * MIB)
    options = ("--memory", "256M", "--create", "made=64M", "--import", f"loaded={tmp_path / 'image'}")
    server = start(*options)
    server.go("made").write(0, b"m" * 4096)
    server.go("loaded").write(0, b"l" * 4096)
    server.kill()
    server = start(*options)
    assert server.names() == ["loaded", "made"]
    assert server.go("made").read(0, 4096) == b"m" * 4096
    assert server.go("loaded").read(0, 8192) == b"l" * 4096 + b"i" * 4096
    # A checkpoint is only for a server without disks.
    server.run("checkpoint", tmp_path / "saved")
    server.go("made").write(0, b"n" * 4096)
    server.kill()
    server = start(*options, "--restore", tmp_path / "saved")
    assert server.go("made").read(0, 4096) == b"n" * 4096


def test_what_belongs_to_a_connection_ends_with_the_server(start):
    server = start("--memory", "256M", "--create", "golden=64M")
    server.go("golden@").write(0, b"t" * MIB)
    API(server).good("POST", "/v1/held", {"size": MIB})
    assert server.stat()["memoryUsed"] > MIB
    server.kill()
    server = start()
    assert server.names() == ["golden"]
    assert server.stat()["memoryUsed"] == 0


def test_less_memory_than_is_in_use(start):
    server = start("--memory", "256M", "--create", "disk=128M")
    wire = server.go("disk")
    for at in range(0, 64 * MIB, MIB):
        wire.write(at, b"d" * MIB)
    server.kill()
    server = start("--memory", "32M")
    wire = server.go("disk")
    assert wire.error(1, 100 * MIB, 4096, 0, bytes(4096)) == ENOSPC
    assert wire.read(63 * MIB, MIB) == b"d" * MIB
    assert wire.error(4, 0, 48 * MIB) == 0
    eventually(lambda: wire.error(1, 100 * MIB, 4096, 0, b"n" * 4096) == 0, "there is room again")


def test_a_reserve_that_no_longer_fits_is_refused_and_nothing_is_lost(start, memory, tmp_path):
    server = start("--memory", "256M", "--create", "disk=128M")
    server.go("disk").write(0, b"d" * MIB)
    server.run("limit", "disk", "--reserve", "100M")
    server.kill()
    done = run(BINARY, "serve", "--directory", tmp_path / "server", *map(str, memory), "--memory", "64M", check=False)
    assert done.returncode == 1 and "disk" in done.stderr and "reserve" in done.stderr, done.stderr
    server = start()
    assert server.disk("disk")["reserve"] == 100 * MIB and server.go("disk").read(0, MIB) == b"d" * MIB


def test_one_server_at_a_time(start, memory, tmp_path):
    server = start()
    done = run(BINARY, "serve", "--directory", tmp_path / "server", *map(str, memory), "--memory", "64M", check=False)
    assert done.returncode == 1 and "another hugemem serves there" in done.stderr
    if memory[0] == "--memory-file":
        other = run(BINARY, "serve", "--directory", tmp_path / "other", *map(str, memory), "--memory", "64M", check=False)
        assert other.returncode == 1 and f"process number {server.process.pid}" in other.stderr, other.stderr
    assert server.names() == []


def test_stat_says_what_keeps_the_disks(start, memory):
    server = start()
    status = server.stat()["survival"]
    assert ("a keeper, process " if memory[0] == "--survive" else "the file ") in status["keptBy"]
    assert status["memory"]
    assert "disks kept by" in server.run("stat").stdout
    assert API(server).good("GET", "/v1/memory")["survival"] == status


def test_without_the_option_disks_end_with_the_server(server):
    made = server(memory="64M")
    assert "survival" not in made.stat()


def test_memory_of_an_earlier_server_is_not_forgotten(tmp_path):
    first = Server(tmp_path / "server", "--survive", "--memory", "64M", "--create", "disk=1M")
    first.kill()
    second = Server(tmp_path / "server", "--memory", "64M")
    try:
        assert second.names() == []
        assert "hugemem keeper end" in second.log.read_text()
    finally:
        second.kill()
        Keeper(tmp_path / "server").command("end")
