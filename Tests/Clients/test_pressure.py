"""Other processes in the server's control group (v2) stall for memory. The kernel tells the server
by PSI, and the server gives up what it can. The level falls when the others are gone."""

import re
import struct
import subprocess
import sys

import pytest

from support.compare import eventually, same_bytes

MIB = 1 << 20
NOISE, ZEROS, HIGH = 8, 24, 128 * MIB

# Above memory.high, the kernel makes each process wait that takes memory, and longer the more the
# group is above. The server has to wait as well, so this takes only 3 % more, again and again.
HOG = """
import sys, time
group, most, held = sys.argv[1], int(sys.argv[2]), []
while True:
    if int(open(f"{group}/memory.current").read()) < most:
        held.append(bytearray(b"1" * (1 << 18)))
    else:
        del held[-4:]
        time.sleep(0.001)
"""


@pytest.fixture
def stalling(group):
    group = group(256 * MIB)
    if group.version != 2:
        pytest.skip("the memory controller is on v1, which has no PSI")
    try:
        group.text("memory.pressure")
    except OSError:
        pytest.skip("the kernel runs without PSI")
    return group


def contents(at):
    return struct.pack(">Q", at + 1) * (1 << 17)


def write(server):
    """Writes 8 MiB of data, and 24 MiB of zeros, which take memory until the server looks at
    them."""
    wire = server.go("data", timeout=300)
    for at in range(NOISE):
        wire.write(at << 20, contents(at))
    for at in range(ZEROS):
        wire.write((64 + at) << 20, bytes(MIB))
    return wire


@pytest.mark.deadline(600)
def test_who_stalls_makes_the_server_give_up_its_zeros_and_nothing_is_lost(stalling, server, figure):
    server = server(create="data=1G", launcher=stalling.launcher())
    wire = write(server)
    assert server.data("data") == (NOISE + ZEROS) * MIB
    assert server.stat()["pressure"] == "normal"

    stalling.set("memory.high", HIGH)
    eventually(lambda: server.stat()["memoryLimit"] <= HIGH, "the limit follows memory.high")
    hog = subprocess.Popen([*stalling.launcher(), sys.executable, "-c", HOG,
                            str(stalling.path), str(HIGH * 103 // 100)])

    def cause():
        """The cause is PSI of the group or of the machine, and not memory.events."""
        return re.search("[^/]*/(memory.pressure|pressure/memory)", server.stat().get("pressureCause") or "")

    try:
        told = eventually(cause, "the server is told of the stalls", seconds=120)
        figure(f"told by {told.group()}")
        eventually(lambda: server.data("data") == NOISE * MIB, "the zeros are given up", seconds=120)
    finally:
        hog.kill()
        hog.wait()

    stalling.set("memory.high", "max")
    eventually(lambda: (status := server.stat())["pressure"] == "normal" and not status.get("pressureCause"),
               "the level falls", seconds=120)
    for at in range(NOISE):
        same_bytes(wire.read(at << 20, MIB), contents(at), at=at << 20)
    same_bytes(wire.read(64 * MIB, MIB), bytes(MIB), at=64 * MIB)
    wire.write(128 * MIB, b"\1" * MIB)
    stalling.nobody_killed(server)
