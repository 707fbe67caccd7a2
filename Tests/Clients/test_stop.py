"""No work for a client delays the end of the server, or goes on after the client is gone."""

import os
import signal
import struct
import subprocess
import time

import pytest

from support.compare import eventually, noise
from support.server import BINARY, Server
from support.tools import needs
from support.wire import GO, TRIM, UNKNOWN, Wire, text

MIB = 1 << 20


class Work:
    """Long work in a server. `process` has asked for it."""

    def __init__(self, server, tmp_path):
        self.server, self.tmp_path, self.process = server, tmp_path, None

    def start(self, *command, **more):
        # A process that a shell starts in the background ignores SIGINT. Undo that.
        self.process = subprocess.Popen(
            self.server.command(*command), stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **more)

    def silent_import(self):
        """An import of a pipe that stays silent."""
        self.start("import", "new", "-", stdin=subprocess.PIPE)
        self.process.stdin.write(noise(8 * MIB))
        self.process.stdin.flush()
        eventually(lambda: self.server.stat()["memoryUsed"] >= 6 * MIB, "the import is under way")

    def endless_import(self):
        """An import of endless zeros."""
        self.start("import", "new", "/dev/zero")
        time.sleep(0.3)

    def stuck_export(self):
        """An export to a pipe that nobody reads."""
        self.fill("data", 16)
        self.start("export", "data", "-", stdout=subprocess.PIPE)
        time.sleep(0.3)

    def long_export(self):
        """An export of zeros to a stream, which takes minutes."""
        self.server.run("create", "vast", "--size", "4T")
        self.start("export", "vast", "/dev/null")
        time.sleep(0.3)

    def file_export(self):
        """An export to a file."""
        self.fill("data", 512)
        self.start("export", "data", self.tmp_path / "out")
        eventually(lambda: self.process.poll() is not None or (self.tmp_path / "out").exists() or any(
            name.startswith(".hugemem") for name in os.listdir(self.tmp_path)), "the export has begun")

    def forks(self):
        """10,000 forks at once."""
        self.start("fork", "data", "-", stdin=subprocess.PIPE)
        self.process.stdin.write("".join(f"fork{number}\n" for number in range(10_000)).encode())
        self.process.stdin.close()
        time.sleep(0.15)

    def fill(self, name, mib):
        wire = self.server.go(name)
        block = noise(4 * MIB)
        for at in range(0, mib * MIB, len(block)):
            wire.write(at, block)
        wire.close()


KINDS = ["silent_import", "endless_import", "stuck_export", "long_export", "file_export", "forks"]


@pytest.fixture(params=KINDS)
def work(request, server, tmp_path):
    work = Work(server(memory="2G", create="data=1T"), tmp_path)
    getattr(work, request.param)()
    yield work
    if work.process.poll() is None:
        work.process.kill()
    work.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_server_whatever_runs(work, number, figure):
    begin = time.monotonic()
    work.server.stops_cleanly(number)
    figure(f"gone after {time.monotonic() - begin:.2f} s")
    work.process.wait(20)
    assert not (work.tmp_path / "out").exists() or work.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
                         ids=["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_the_work_ends_with_its_client_and_leaves_nothing(work, number):
    work.process.send_signal(number)
    status = work.process.wait(20)
    server = work.server
    if status != 0:  # else the work was done before
        eventually(lambda: "cancelled" in server.log.read_text() or "Broken pipe" in server.log.read_text()
                   or "fork9999" in server.names(), "the server noticed")
        # All forks were made, or none.
        assert len(server.names()) in (1, 2, 10_001) and "new" not in server.names()
        assert not (work.tmp_path / "out").exists()
    assert not [name for name in os.listdir(work.tmp_path) if name.startswith(".hugemem")]
    data = server.data("data")
    eventually(lambda: server.run("shrink") and server.stat()["memoryUsed"] <= data + 16 * MIB,
               "what it held is free")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["server", "client"])
def test_trims_of_a_large_disk_end_with_the_server_and_not_with_the_client_s_health(server, tmp_path, number):
    """A thousand trims of 4 GiB each are under way when the signal comes."""
    server = server(memory="2G", create="data=1T")
    work = Work(server, tmp_path)
    work.fill("data", 512)
    wire = server.go("data")
    wire.send(b"".join(struct.pack(">IHHQQI", 0x25609513, 0, TRIM, cookie, cookie % 200 << 32, 0xffff0000)
                       for cookie in range(1000)))
    if number == signal.SIGTERM:
        begin = time.monotonic()
        server.stops_cleanly()
        assert time.monotonic() - begin < 10
    else:
        wire.close()
        eventually(lambda: server.disk("data")["connections"] == 0, "the connection is gone")
        work.fill("data", 8)


def test_a_signal_during_the_start_ends_it(tmp_path):
    """An import waits for its FIFO."""
    os.mkfifo(tmp_path / "fifo")
    directory = tmp_path / "starting"
    starting = subprocess.Popen([BINARY, "serve", "--directory", str(directory),
                                 "--import", f"x={tmp_path / 'fifo'}"])
    eventually(lambda: (directory / "lock").exists(), "it has begun")
    time.sleep(0.2)
    starting.send_signal(signal.SIGTERM)
    assert starting.wait(20) in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert os.listdir(directory) == ["lock"]


def test_a_second_signal_ends_it_at_once(tmp_path):
    server = Server(tmp_path / "run", "--create", "data=1M")
    try:
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        # The first signal may have been enough.
        assert server.process.wait(20) in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)
        assert os.listdir(server.directory) == ["lock"]
    finally:
        server.kill()


@pytest.mark.parametrize("log", ["closed", "unread", "full"])
def test_sighup_and_a_log_that_nobody_reads_leave_the_disks_alone(tmp_path, log):
    """The terminal closes, and with it the reader of the log; or that reads nothing; or a disk is full."""
    directory = tmp_path / "run"
    command = [BINARY, "serve", "--directory", str(directory), "--create", "data=1M"]
    # Full from the start: 64 KiB that nobody reads.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(1 << 16))
    os.set_blocking(writer, True)
    with open("/dev/full", "wb") as full:
        stderr = full if log == "full" else writer
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
    os.close(writer)
    try:
        assert b"ready" in process.stdout.readline()
        process.stdout.close()
        if log == "closed":
            os.close(reader)
        process.send_signal(signal.SIGHUP)
        for number in range(400):
            wire = Wire(f"{directory}/nbd.sock")
            assert wire.status(GO, text(f"nosuch{number}") + b"\0\0") == UNKNOWN
            wire.close()
        assert process.poll() is None
        listed = subprocess.run([BINARY, "list", "--directory", str(directory)], capture_output=True, timeout=60)
        assert b"data" in listed.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if log != "closed":
            os.close(reader)
        process.kill()
        process.wait()
    assert os.listdir(directory) == ["lock"]


def test_a_file_size_limit_fails_an_export_and_not_the_server(server, tmp_path):
    needs("prlimit")
    server = server(create="data=64M", launcher=["prlimit", f"--fsize={MIB}"])
    server.io("data", "write -P 7 0 4M")
    server.refused("File too large", "export", "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    server.io("data", "read -P 7 0 4M")
