"""Clients that connect again by themselves: while a server is killed and another one comes, their requests
wait, and none is lost or fails."""

import re
import signal
import subprocess
import threading
import time

import pytest

from support.compare import eventually, noise, same_bytes
from support.tools import needs, run

MIB = 1 << 20


def options(one, disk, delay=60):
    """The disk for qemu's tools, which connect again for so many seconds."""
    return (f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={one.directory}/nbd.sock,"
            f"file.export={disk},file.reconnect-delay={delay}")


class QemuIO:
    """A qemu-io that takes commands one after the other."""

    def __init__(self, one, disk, **more):
        needs("qemu-io")
        self.process = subprocess.Popen(
            ["qemu-io", "-t", "none", "--image-opts", options(one, disk, **more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.said, self.told = "", 0
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while piece := self.process.stdout.read(1):
            self.said += piece

    def tell(self, command):
        """Gives a command. The one before must be done, since qemu-io loses sight of lines that come together."""
        self.done()
        self.told += 1
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def done(self):
        eventually(lambda: self.said.count("qemu-io> ") > self.told or self.process.poll() is not None,
                   "qemu-io is done", 100, 0.001)

    def end(self):
        self.tell("quit")
        status = self.process.wait(100)
        self.thread.join(10)
        return status, self.said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_request_that_is_sent_while_there_is_no_server(survivor, number):
    one = survivor(create="disk=64M")
    client = QemuIO(one, "disk")
    client.tell("write -P 1 0 1M")
    client.done()
    one.kill() if number == signal.SIGKILL else one.stop()
    client.tell("write -P 2 1M 1M")
    time.sleep(0.3)
    assert client.said.count("1 MiB, 1 ops") == 1, "it waits"
    one.start()
    for command in ("read -P 1 0 1M", "read -P 2 1M 1M", "flush"):
        client.tell(command)
    status, said = client.end()
    assert status == 0 and said.count("1 MiB, 1 ops") == 4 and not re.search("rror|fail", said), said
    same_bytes(one.read("disk", 0, 2 * MIB), b"\1" * MIB + b"\2" * MIB, "disk")


def test_requests_in_flight_when_the_server_is_killed(survivor, figure):
    """Writes go on through four kills; what each says is what is there."""
    one, rounds = survivor(create="disk=256M", memory="512M"), 4
    client = QemuIO(one, "disk")
    writes = 240

    def write():
        for number in range(writes):
            client.tell(f"aio_write -P {number % 250 + 1} {number}M 1M")
            time.sleep(0.005)
        client.tell("aio_flush")

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    for _ in range(rounds):
        time.sleep(0.1)
        one.again()
    writing.join(100)
    status, said = client.end()
    assert status == 0 and not re.search("rror|failed", said), said
    for number in range(writes):
        same_bytes(one.read("disk", number * MIB, MIB), bytes([number % 250 + 1]) * MIB, "disk", at=number * MIB)
    figure(f"{said.count('1 MiB, 1 ops')} writes over {rounds} kills")


def test_a_copy_by_qemu_img_goes_on(survivor, tmp_path):
    needs("qemu-img")
    one = survivor(create="disk=128M")
    (tmp_path / "image").write_bytes(noise(128 * MIB, 1))
    copy = subprocess.Popen(
        ["qemu-img", "convert", "-n", "-f", "raw", "-r", "200M", "--target-image-opts", str(tmp_path / "image"), options(one, "disk")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kills = 0
    while copy.poll() is None and kills < 3:
        time.sleep(0.1)
        one.again()
        kills += 1
    said = copy.communicate(timeout=100)[0]
    assert copy.returncode == 0, said
    assert kills > 0
    same_bytes(one.read("disk", 0, 128 * MIB), (tmp_path / "image").read_bytes(), "disk")


def test_without_a_server_the_delay_ends(survivor):
    """What the others rely on: without a delay, the same request fails."""
    one = survivor(create="disk=64M")
    client = QemuIO(one, "disk", delay=0)
    client.tell("write -P 1 0 1M")
    client.done()
    one.kill()
    client.tell("write -P 2 1M 1M")
    status, said = client.end()
    assert re.search("write failed|rror", said), said
    one.start()
    same_bytes(one.read("disk", 0, 2 * MIB), b"\1" * MIB + bytes(MIB), "disk")
