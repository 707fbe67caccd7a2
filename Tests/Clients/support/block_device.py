"""A block device of the kernel's NBD driver, over its netlink interface: with a dead connection, requests wait
for another one. The nbd-client of Debian 12 has no option for that.

Numbers and layouts: the kernel's include/uapi/linux/nbd-netlink.h and netlink.h.
"""

import os
import re
import socket
import struct
from pathlib import Path

import pytest

from support.tools import run

CONNECT, DISCONNECT, RECONFIGURE = 1, 2, 3
INDEX, SIZE, BLOCK_SIZE, TIMEOUT, SERVER_FLAGS, SOCKETS, DEAD_CONN_TIMEOUT = 1, 2, 3, 4, 5, 7, 8
REQUEST, ACK, ERROR, CONTROL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 1, 4, 2, 16, 3, 1, 2
NESTED = 1 << 15


def attribute(kind, payload):
    if isinstance(payload, int):
        payload = struct.pack("=I" if kind == INDEX else "=Q", payload)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


class Netlink:
    """The driver's family of generic netlink."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        answer = self.ask(CONTROL, GET_FAMILY, attribute(FAMILY_NAME, b"nbd\0"))
        at = 20
        while at < len(answer):
            length, kind = struct.unpack_from("=HH", answer, at)
            if kind == FAMILY_ID:
                self.family = struct.unpack_from("=H", answer, at + 4)[0]
            at += length + -length % 4

    def ask(self, family, command, *attributes):
        """Sends a command. Returns what came before its acknowledgement, or raises the driver's error."""
        body, answer = struct.pack("=BBH", command, 1, 0) + b"".join(attributes), b""
        self.socket.send(struct.pack("=IHHII", 16 + len(body), family, REQUEST | ACK, 1, 0) + body)
        while True:
            message = self.socket.recv(1 << 16)
            if struct.unpack_from("=H", message, 4)[0] != ERROR:
                answer = message
                continue
            if code := -struct.unpack_from("=i", message, 16)[0]:
                raise OSError(code, os.strerror(code))
            return answer


class BlockDevice:
    """A disk of a server as /dev/nbd*. Without a connection, its requests wait for `patience` seconds."""

    def __init__(self, server, disk, patience=120):
        self.server, self.disk = server, disk
        self.index = free_device()
        self.path, self.netlink = f"/dev/nbd{self.index}", Netlink()
        wire = self.connection()
        self.ask(CONNECT, wire, attribute(SIZE, wire.size), attribute(BLOCK_SIZE, 4096), attribute(TIMEOUT, 60),
                 attribute(SERVER_FLAGS, wire.flags), attribute(DEAD_CONN_TIMEOUT, patience))

    def connection(self):
        return self.server.wire().go(self.disk, structured=False)

    def ask(self, command, wire, *attributes):
        sockets = b""
        if wire:
            # The kernel has the connection from now on, and without a deadline.
            wire.socket.settimeout(None)
            descriptor = attribute(1 | NESTED, attribute(1, struct.pack("=I", wire.socket.fileno())))
            sockets = attribute(SOCKETS | NESTED, descriptor)
        self.netlink.ask(self.netlink.family, command, attribute(INDEX, self.index), *attributes, sockets)

    def reconnect(self):
        """Gives the driver a new connection. What was in flight and what waits goes over that."""
        self.ask(RECONFIGURE, self.connection())

    def end(self):
        self.ask(DISCONNECT, None)


def free_device():
    """The number of a device that nobody uses. Skips the test where there is none."""
    if not Path("/sys/module/nbd").exists() and run("modprobe", "nbd", check=False).returncode:
        pytest.skip("this kernel has no nbd driver; make cgroup2 runs the test in one that has")
    for path in sorted(Path("/sys/block").glob("nbd*")):
        if not (path / "pid").exists():
            return int(re.sub(r"\D", "", path.name))
    pytest.skip("no free /dev/nbd*")
