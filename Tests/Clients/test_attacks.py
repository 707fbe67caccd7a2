"""Attacks that show what one client can cost. Each tries to take more of the server than it may
have, and prints what it got. docs/what-one-client-can-cost.md has the bounds.

    /usr/bin/python3 -m pytest Tests/Clients/test_attacks.py

The attacks use sockets of their own, and break the protocol on purpose. They leave out options
that a build does not know, so that they can attack an older one in the same way.
"""

import contextlib
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HUGEMEM = os.environ.get("HUGEMEM", str(ROOT / ".build/release/hugemem"))
KIB, MIB = 1 << 10, 1 << 20
READ, WRITE, DISC, FLUSH, TRIM = range(5)
LIST, INFO, GO = 3, 6, 7
ENOSPC = 28

HELP = subprocess.run([HUGEMEM, "serve", "--help"], capture_output=True, text=True).stdout


@pytest.fixture(autouse=True, scope="module")
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Server:
    def __init__(self, *options):
        self.scratch = tempfile.TemporaryDirectory(prefix="hugemem-attack.")
        self.directory = self.scratch.name + "/run"
        self.log = self.scratch.name + "/log"
        known, skip = [], False
        for option in options:
            if option.startswith("--"):
                skip = option not in HELP
            if not skip:
                known.append(option)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [HUGEMEM, "serve", "--directory", self.directory, *known],
                stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        assert ": ready" in line, (line, open(self.log).read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.scratch.cleanup()

    def hm(self, command, *arguments):
        result = subprocess.run(
            [HUGEMEM, command, "--directory", self.directory, *arguments],
            capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def stat(self):
        return json.loads(self.hm("stat", "--json"))

    def status(self, key):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(key + ":"):
                return int(line.split()[1])

    def rss(self):
        return self.status("VmRSS") * KIB

    def threads(self):
        return self.status("Threads")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self, name="nbd.sock"):
        s = socket.socket(socket.AF_UNIX)
        # Without a timeout yet: with one, it would not wait where too many others want to connect.
        s.connect(f"{self.directory}/{name}")
        s.settimeout(30)
        return s

    def client(self, export=None):
        return Client(self.connect(), export)

    def ends(self):
        """Sends SIGTERM, and returns the seconds until the server is gone."""
        begin = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        return time.monotonic() - begin


def request(command, offset=0, length=0):
    return struct.pack(">IHHQQI", 0x25609513, 0, command, 7, offset, length)


class Client:
    """One connection. It is in transmission if an export is named, or `error` says why not."""

    def __init__(self, s, export=None):
        self.s, self.error = s, None
        assert len(self.take(18)) == 18, "no greeting"
        s.sendall(struct.pack(">I", 3))
        if export is not None:
            name = export.encode()
            self.option(GO, struct.pack(">I", len(name)) + name + b"\0\0")
            kind, text = self.answer()
            if kind >> 31:
                self.error = text.decode()

    def take(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.s.recv(min(count - len(data), MIB))
            if not part:
                break
            data += part
        return bytes(data)

    def option(self, code, payload=b""):
        self.s.sendall(b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload)

    def answer(self):
        while True:
            head = self.take(20)
            assert len(head) == 20, "the server closed in negotiation"
            _, _, kind, length = struct.unpack(">QIII", head)
            payload = self.take(length)
            if kind == 1 or kind >> 31:
                return kind, payload

    def request(self, command, offset=0, length=0, payload=b""):
        self.s.sendall(request(command, offset, length) + payload)

    def reply(self, length=0):
        """Receives the next reply, and returns its error."""
        head = self.take(16)
        assert len(head) == 16, "the server closed in transmission"
        error = struct.unpack(">I", head[4:8])[0]
        if not error:
            assert len(self.take(length)) == length
        return error

    def write(self, offset, payload):
        self.request(WRITE, offset, len(payload), payload)
        return self.reply()

    def trim(self, offset, length):
        self.request(TRIM, offset, length)
        return self.reply()

    def fill(self, most, step=64 * KIB):
        """Writes from the start until a write is refused. Returns the bytes written before that."""
        done, data = 0, os.urandom(step)
        while done < most and self.write(done, data) == 0:
            done += step
        return done

    def is_closed(self):
        try:
            return self.s.recv(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.s.close()


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


# Threads, descriptors, time


# An option of the greatest length that is not skipped, without its last bytes.
OPTION = struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", GO, 12032) + b"x" * 12000


@pytest.mark.parametrize("speaks", [b"", OPTION], ids=["silent", "an option"])
def test_half_open_connections_shut_nobody_out(speaks, figure):
    with Server("--memory", "64M", "--create", "d=1G") as server:
        before, held, stopped = server.rss(), [], threading.Event()

        def attack():
            while not stopped.is_set() and len(held) < 12_000:
                with contextlib.suppress(OSError):
                    s = server.connect()
                    held.append(s)
                    if speaks:
                        s.sendall(speaks)

        attackers = [threading.Thread(target=attack) for _ in range(4)]
        for thread in attackers:
            thread.start()
        assert eventually(lambda: len(held) > 5000)
        # Its own threads take turns with the attackers', so a client may be the oldest for once.
        served = tries = 0
        longest = 0
        for _ in range(20):
            begin = time.monotonic()
            for _ in range(10):
                tries += 1
                with contextlib.suppress(OSError, AssertionError):
                    client = server.client("d")
                    assert client.write(0, b"x" * 4096) == 0
                    client.close()
                    served += 1
                    break
            longest = max(longest, time.monotonic() - begin)
            server.hm("list")
        threads, descriptors, rss = server.threads(), server.descriptors(), server.rss()
        stopped.set()
        for thread in attackers:
            thread.join()
        figure(
            f"{len(held)} half-open connections that each sent {len(speaks)} bytes: {served} of 20"
            f" clients served in {tries} tries, the slowest in {longest:.2f} s; {threads} threads, {descriptors}"
            f" descriptors, {(rss - before) >> 10} KiB of memory")
        assert served == 20
        assert threads <= 512 + 256 + 2 * 64 + 16 and descriptors <= 2 * (512 + 256) + 256
        assert rss - before <= 64 * MIB
        log = open(server.log).read()
        figure(f"the log: {len(log)} bytes, {log.count(chr(10))} lines")
        assert len(log) < 64 * KIB
        assert server.ends() < 5


def test_a_byte_now_and_then_ends_at_the_deadline(figure):
    with Server("--memory", "64M", "--create", "d=1G", "--negotiation-timeout", "3") as server:
        clients = [server.client() for _ in range(100)]
        begin = time.monotonic()
        for client in clients:
            client.s.sendall(b"IHAVEOPT" + struct.pack(">II", INFO, 4000))
        open_ = set(clients)
        while open_ and time.monotonic() - begin < 20:
            time.sleep(0.5)
            for client in list(open_):
                try:
                    client.s.sendall(b"\0")
                except OSError:
                    open_.discard(client)
        figure(f"a byte each half second: {100 - len(open_)} of 100 ended after {time.monotonic() - begin:.1f} s; the deadline is 3 s")
        assert not open_ and server.threads() < 20


def test_the_control_socket_is_always_open(figure):
    with Server("--memory", "64M", "--create", "d=1G") as server:
        held = []
        for index in range(600):
            with contextlib.suppress(OSError):
                s = server.connect("control.sock")
                held.append(s)
                if index % 2:
                    s.sendall(b'{"li')
        begin = time.monotonic()
        server.hm("list")
        figure(f"{len(held)} control connections, half of them in the middle of a line: a list takes {time.monotonic() - begin:.2f} s; {server.threads()} threads")
        assert server.threads() <= 256 + 64 + 16
        assert server.ends() < 5


# Memory beside --memory


def test_clients_that_read_no_replies_share_the_overhead(figure):
    with Server("--memory", "64M", "--create", "d=1G", "--send-timeout", "5") as server:
        writer = server.client("d")
        assert writer.fill(16 * MIB, MIB) == 16 * MIB
        writer.close()
        time.sleep(2)
        before, clients = server.rss(), []
        for _ in range(500):
            client = server.client("d")
            client.s.settimeout(2)
            with contextlib.suppress(OSError):
                # Ask for copied and pinned replies, more than any buffer holds, and send more
                # requests than the server reads.
                for _ in range(40):
                    client.s.sendall(b"".join(
                        request(READ, k * 4096, 4096 << (k % 5)) for k in range(256)))
                    client.s.setblocking(False)
            clients.append(client)
        grown = server.rss() - before
        figure(f"500 clients that read nothing: {grown / 500 / KIB:.0f} KiB each, {grown / MIB:.0f} MiB together; --overhead is 64 MiB")
        assert grown < 64 * MIB
        assert eventually(lambda: server.threads() < 20)
        figure(f"after --send-timeout of 5 s: {server.threads()} threads, {(server.rss() - before) / MIB:.0f} MiB more than before")
        # The allocator keeps what many threads touched at once, to use it again.
        assert server.rss() - before < 32 * MIB


def test_a_list_that_nobody_reads_costs_the_same_whatever_there_is(figure):
    with Server("--memory", "64M", "--create", "d=1G", "--max-connections", "4096") as server:
        names = [f"{index:04}" + "n" * 240 for index in range(5200)]
        before = server.rss()
        for first in range(0, 5200, 400):
            server.hm("fork", "d", *names[first:first + 400])
        each = (server.rss() - before) / 5200
        figure(f"5,200 disks with names of 244 bytes: {each:.0f} bytes each")
        assert each <= 3 * KIB
        before, clients = server.rss(), []
        for _ in range(100):
            client = server.client()
            client.s.sendall(b"IHAVEOPT" + struct.pack(">II", LIST, 0))
            clients.append(client)
        time.sleep(2)
        grown = server.rss() - before
        figure(f"LIST by 100 clients that do not read: {grown / 100 / KIB:.0f} KiB each, {grown / MIB:.1f} MiB together")
        assert grown < 100 * 64 * KIB
        # A client that reads gets all names.
        reader = server.client()
        reader.option(LIST)
        listed = 0
        while True:
            _, _, kind, length = struct.unpack(">QIII", reader.take(20))
            reader.take(length)
            if kind == 1:
                break
            listed += 1
        assert listed == 5201


def test_disks_end_at_a_clear_limit(figure):
    with Server("--memory", "64M", "--create", "d=1G", "--max-connect-forks", "300") as server:
        before, errors = server.rss(), []
        for index in range(400):
            client = server.client(f"d@f{index}")
            if client.error:
                errors.append(client.error)
            client.close()
        figure(f"400 forks by connecting: {400 - len(errors)} made, then: {errors[:1]}")
        assert len(errors) == 100 and "--max-connect-forks" in errors[0]
        result = subprocess.run(
            [HUGEMEM, "fork", "--directory", server.directory, "d", *[f"g{k}" for k in range(6000)]],
            capture_output=True, text=True)
        figure(f"6,000 more in one call: {result.stderr.strip()}")
        assert result.returncode != 0 and "--max-disks" in result.stderr
        assert len(json.loads(server.hm("list", "--json"))) == 301


def test_forks_by_connecting_can_be_switched_off():
    with Server("--memory", "64M", "--create", "d=1G", "--no-connect-forks") as server:
        for export in ("d@", "d@mine"):
            assert "--no-connect-forks" in (server.client(export).error or "")
        assert server.client("d").error is None


# Memory of a quota


def quota_server(*options):
    server = Server("--memory", "512M", "--create", "d=1G", *options)
    server.hm("create", "t", "--size", "1G", "--quota", "32M")
    return server


def test_a_fork_by_connecting_counts_for_the_quota(figure):
    with quota_server() as server:
        origin = server.client("t")
        assert origin.fill(8 * MIB) == 8 * MIB
        taken = sum(server.client(f"t@f{index}").fill(64 * MIB) for index in range(8))
        figure(f"a quota of 32 MiB, 8 MiB used; 8 forks by connecting took {taken / MIB:.1f} MiB more")
        assert server.stat()["memoryUsed"] <= 33 * MIB


def test_fork_after_fork_freezes_no_memory(figure):
    with quota_server() as server:
        origin, clients, highest = server.client("t"), [], 0
        for index in range(24):
            origin.fill(16 * MIB)
            clients.append(server.client("t@" if index % 2 else f"t@f{index}"))
            if index % 5 == 4:
                clients.pop().close()
            server.hm("shrink")
            highest = max(highest, server.stat()["memoryUsed"])
        figure(f"24 times: 16 MiB written, then a fork by connecting: {highest / MIB:.1f} MiB at most; the quota is 32 MiB")
        assert highest <= 33 * MIB


def test_memory_that_clients_hold_is_a_quarter_of_the_quota(figure):
    with quota_server("--send-timeout", "5") as server:
        writer, stalled = server.client("t"), []
        for _ in range(8):
            assert writer.fill(24 * MIB, 2 * MIB) == 24 * MIB
            client = server.client("t")
            # Send one piece: a socket takes only few small pieces that nobody reads.
            client.s.sendall(b"".join(
                request(READ, offset, 256 * KIB) for offset in range(0, 24 * MIB, 256 * KIB)))
            stalled.append(client)
            time.sleep(0.3)
            assert writer.trim(0, 24 * MIB) == 0
        server.hm("shrink")
        held = server.stat()["memoryUsed"]
        figure(f"8 clients that do not read, of data that is trimmed then: {held / MIB:.1f} MiB held; the quota is 32 MiB")
        assert held <= 8 * MIB + 2 * MIB
        assert eventually(lambda: (server.hm("shrink"), server.stat()["memoryUsed"])[1] < MIB)


# The log


def test_refusals_do_not_flood_the_log(figure):
    with Server("--memory", "64M", "--create", "d=1G") as server:
        name = ("\x1b[2J\n" * 700).encode()
        client, asked, begin = server.client(), 0, time.monotonic()
        while time.monotonic() - begin < 3:
            client.s.sendall((b"IHAVEOPT" + struct.pack(">III", INFO, len(name) + 6, len(name)) + name + b"\0\0") * 8)
            for _ in range(8):
                kind, text = client.answer()
                assert kind >> 31 and len(text) <= 4096
            asked += 8
        size = os.path.getsize(server.log)
        figure(f"{asked} refused names of {len(name)} bytes in 3 s: {size / KIB:.0f} KiB of log")
        assert size < 256 * KIB and b"\x1b" not in open(server.log, "rb").read()
