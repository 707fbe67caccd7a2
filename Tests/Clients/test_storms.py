"""Storms: garbage on both sockets, tenants in too little memory while limits change and the server
is stopped at times, a very long chain of forks, and SIGTERM at full load.

A twentieth of each storm runs with the other tests. `make storms` runs them whole (STORM=1). Each
prints its seed, and SEED= repeats it.
"""

import json
import os
import random
import signal
import socket
import struct
import threading
import time

import pytest

from support.compare import eventually, noise, same_bytes
from support.wire import (
    BLOCK_STATUS, DISC, ENOSPC, EXPORT_NAME, FLUSH, GO, INFO, LIST, READ, SET_META, STRUCTURED_REPLY,
    TRIM, WRITE, WRITE_ZEROES, text)
from test_signals import Busy

MIB = 1 << 20
WHOLE = "STORM" in os.environ


def count(whole):
    return whole if WHOLE else whole // 20


@pytest.fixture
def chance(figure):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    figure(f"SEED={seed}")
    return random.Random(seed)


def mutated(data, chance):
    """Changes, removes, repeats or inserts a few bytes."""
    data = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(data) + 1)
        length = chance.choice([1, 2, 4, 8, 100])
        kind = chance.randrange(4)
        if kind == 0:
            data[at : at + length] = chance.randbytes(min(length, len(data) - at))
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = chance.choice([bytes(length), b"\xff" * length, chance.randbytes(length)])
    return bytes(data)


@pytest.mark.deadline(3600)
def test_fuzzed_sessions_neither_end_nor_hang_the_server(server, chance, figure):
    server = server(memory="64M", create=("canary=1M", "fuzzed=16M"))
    pattern = noise(4096)
    server.go("canary").write(0, pattern)

    def option(code, payload=b""):
        return b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload

    def request(command, offset, length, flags=0, payload=b""):
        return struct.pack(">IHHQQI", 0x25609513, flags, command, 1, offset, length) + payload

    def session():
        parts = [struct.pack(">I", chance.choice([0, 1, 2, 3]))]
        name = text(chance.choice(["fuzzed", "fuzzed", "", "fuzzed@", "fuzzed@job", "none", "x" * 300]))
        if chance.random() < 0.7:
            parts.append(option(STRUCTURED_REPLY))
            parts.append(option(SET_META, name + struct.pack(">I", 1) + text("base:allocation")))
        for code in chance.sample([LIST, INFO, 99], chance.randrange(3)):
            parts.append(option(code, name + b"\0\0" if code == INFO else b""))
        parts.append(option(GO, name + b"\0\0") if chance.random() < 0.9 else option(EXPORT_NAME, name[4:]))
        for _ in range(chance.randrange(6)):
            command = chance.choice([READ, WRITE, TRIM, WRITE_ZEROES, FLUSH, BLOCK_STATUS, DISC, 77])
            length = chance.choice([0, 1, 512, 4096, 70_000])
            payload = chance.randbytes(length) if command == WRITE else b""
            parts.append(request(command, chance.randrange(17 * MIB), length, chance.choice([0, 1, 2, 8]), payload))
        return mutated(b"".join(parts), chance)

    for number in range(count(73_000)):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{server.directory}/nbd.sock")
            try:
                client.sendall(session())
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
        if number % 500 == 0:
            assert server.process.poll() is None, f"ended after session {number}"
    wire = server.go("canary")
    same_bytes(wire.read(0, 4096), pattern)
    figure(f"{count(73_000)} sessions")


@pytest.mark.deadline(3600)
def test_fuzzed_lines_on_the_control_socket_are_each_answered_or_cut(server, chance, figure):
    server = server(memory="64M", create=("canary=1M", "fuzzed=16M"))
    pattern = noise(4096)
    server.go("canary").write(0, pattern)
    lines = [json.dumps(line).encode() for line in (
        {"create": {"name": "fuzz", "size": 1 << 20}}, {"fork": {"source": "fuzzed", "names": ["fuzz1", "fuzz2"]}},
        {"reset": {"name": "fuzz1"}}, {"remove": {"names": ["fuzz", "fuzz1", "fuzz2"]}}, {"list": {}},
        {"stat": {"name": "fuzzed"}}, {"stat": {}}, {"shrink": {}}, {"tune": {"_0": []}},
        {"limit": {"name": "fuzzed", "quota": {"set": {"_0": 8 << 20}}, "reserve": {"lift": {}}}},
        {"importFile": {"name": "fuzz", "path": "/nowhere/at/all"}})]
    client = None
    for number in range(count(41_000)):
        if client is None:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(f"{server.directory}/control.sock")
        line = mutated(chance.choice(lines), chance).replace(b"\n", b" ")
        answer = b""
        try:
            client.sendall(line + b"\n")
            while not answer.endswith(b"\n"):
                part = client.recv(1 << 20)
                if not part:
                    break
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            pass
        # A line that does not begin with a brace is taken for HTTP, and refused.
        if b'"failure"' in answer or answer.startswith(b"HTTP/1.1 4") or not answer:
            client.close()
            client = None
        else:
            json.loads(answer)
    if client:
        client.close()
    same_bytes(server.go("canary").read(0, 4096), pattern)
    assert {"canary", "fuzzed"} <= set(server.names())
    figure(f"{count(41_000)} lines")


class Tenant:
    """A client with a disk of its own. `blocks` has what must be in each block of 4 KiB; other
    blocks are zeros."""

    BLOCK, BLOCKS = 4096, 4096

    def __init__(self, server, name, seed):
        self.wire, self.chance, self.blocks, self.refused = server.go(name, timeout=120), random.Random(seed), {}, 0

    def step(self):
        at = self.chance.randrange(self.BLOCKS - 64)
        length = self.chance.choice([1, 1, 2, 16, 64])
        kind = self.chance.randrange(8)
        if kind < 4:
            data = self.chance.randbytes(16) * (256 * length)
            self.change(WRITE, at, length, data)
        elif kind == 4:
            self.change(TRIM, at, length, bytes(4096 * length))
        elif kind == 5:
            self.change(WRITE_ZEROES, at, length, bytes(4096 * length))
        else:
            same_bytes(self.wire.read(at * self.BLOCK, length * self.BLOCK), self.known(at, length),
                       at=at * self.BLOCK)

    def known(self, at, length):
        return b"".join(self.blocks.get(number, bytes(4096)) for number in range(at, at + length))

    def change(self, command, at, length, data):
        error = self.wire.error(command, at * 4096, length * 4096, 0, data if command == WRITE else b"")
        assert error in (0, ENOSPC), error
        seen = data
        if error:
            # Each block must be the old one or the new one.
            self.refused += 1
            seen = self.wire.read(at * 4096, length * 4096)
            for number in range(length):
                part = slice(number * 4096, number * 4096 + 4096)
                if seen[part] != data[part]:
                    same_bytes(seen[part], self.blocks.get(at + number, bytes(4096)),
                               f"block {at + number}, {number} of {length} of a refused {command}: neither old nor new")
        for number in range(length):
            self.blocks[at + number] = seen[number * 4096 : number * 4096 + 4096]


@pytest.mark.deadline(3600)
def test_tenants_keep_their_bytes_while_everything_moves(server, chance, together, figure):
    server = server(memory="64M", create=("t0=16M", "t1=16M", "t2=16M"))
    tenants = [Tenant(server, f"t{number}", chance.random()) for number in range(3)]
    running = [3]

    def work(tenant):
        try:
            for _ in range(count(104_000) // 3):
                tenant.step()
        finally:
            running[0] -= 1

    def storm():
        while running[0]:
            command = chance.choice([
                ("limit", "--memory", chance.choice(["32M", "48M", "64M"])), ("shrink",),
                ("limit", f"t{chance.randrange(3)}", "--quota", chance.choice(["8M", "12M", "none"])),
                ("tune", chance.choice(["enabled=always", "enabled=collapse", "enabled=never"])),
                ("tune", chance.choice(["use_zero_page=0", "use_zero_page=1"])),
                ("tune", chance.choice(["khugepaged/scan_sleep_millisecs=0", "khugepaged/scan_sleep_millisecs=1000"]))])
            server.run(*command)
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(chance.random() / 50)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(chance.random() / 10)

    together(storm, *[lambda tenant=tenant: work(tenant) for tenant in tenants])
    for tenant in tenants:
        same_bytes(tenant.wire.read(0, 16 * MIB), tenant.known(0, tenant.BLOCKS))
        tenant.wire.close()
    figure(f"{count(104_000)} operations, {sum(tenant.refused for tenant in tenants)} refused")
    server.remove("t0", "t1", "t2")
    eventually(lambda: server.stat()["memoryUsed"] <= MIB, "no disks use 1 MiB at most")


@pytest.mark.deadline(3600)
def test_a_long_chain_of_forks(server, chance, figure):
    """Each disk is a fork of the one before, which is then removed. Every hundredth gets a page."""
    server = server(memory="512M", create="link0=1G")
    length, pages = count(20_000), {}
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(60)
        control.connect(f"{server.directory}/control.sock")
        lines = control.makefile("rwb")

        def ask(request):
            lines.write(json.dumps(request).encode() + b"\n")
            lines.flush()
            answer = lines.readline()
            return b'"done"' in answer

        for number in range(length):
            assert ask({"fork": {"source": f"link{number}", "names": [f"link{number + 1}"]}})
            if number % 100 == 0:
                wire = server.go(f"link{number + 1}")
                pages[number] = struct.pack(">Q", number + 1) * 512
                wire.write(number * 4096, pages[number])
                wire.close()
            # The server may not have noticed yet that the disk's client is gone.
            eventually(lambda: ask({"remove": {"names": [f"link{number}"]}}), "it can be removed", pause=0)
    wire = server.go(f"link{length}")
    for number, page in pages.items():
        same_bytes(wire.read(number * 4096, 4096), page, at=number * 4096)
    wire.close()
    figure(f"a chain of {length}")
    server.remove(f"link{length}")
    eventually(lambda: server.stat()["memoryUsed"] <= MIB, "no disks use 1 MiB at most")


@pytest.mark.parametrize("turn", range(5))
def test_sigterm_at_full_load(server, tmp_path, turn, figure):
    image = tmp_path / "image"
    image.write_bytes(noise(16 * MIB))
    server = server(create="data=64M")
    busy = Busy(server, image)
    eventually(lambda: sum(disk["connections"] for disk in server.json("list")) >= 6, "the clients are at work")
    begin = time.monotonic()
    server.stops_cleanly()
    figure(f"gone after {time.monotonic() - begin:.2f} s")
    busy.join()
    assert threading.active_count() < 50
