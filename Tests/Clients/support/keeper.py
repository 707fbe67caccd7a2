"""A keeper of memory, spoken to as a server does: packets over its socket in the server's directory."""

import array
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys

from support.server import BINARY
from support.tools import run

# A server that takes the memory, writes to it and waits for its end. It locks a descriptor of its own, as a
# server does.
HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from support.keeper import Keeper
keeper = Keeper(sys.argv[2])
connection, file = keeper.take()
memory = keeper.use(file)
memory[5 << 20:(5 << 20) + 5] = b"bytes"
print("uses", flush=True)
sys.stdin.read()
"""


class Keeper:
    def __init__(self, directory):
        self.directory = directory
        self.socket = f"{directory}/keeper.sock"

    def command(self, name, **more):
        return run(BINARY, "keeper", name, "--directory", self.directory, **more)

    def status(self):
        return json.loads(run(BINARY, "keeper", "status", "--json", "--directory", self.directory).stdout)

    @property
    def process(self):
        return self.status()["process"]

    def connect(self):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.connect(self.socket)  # Waits for room, unlike with a timeout.
        made.settimeout(30)
        return made

    def ask(self, request):
        """The answer to a packet, and the descriptors with it. The connection ends."""
        with self.connect() as connection:
            connection.send(request)
            text, ancillary, _, _ = connection.recvmsg(4096, 4096)
            numbers = array.array("i")
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers.frombytes(data)
            return text, list(numbers)

    def take(self):
        """A connection that ends with the keeper, and the file."""
        connection = self.connect()
        connection.send(b"hugemem 1 take")
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        return connection, array.array("i", ancillary[0][2])[0]

    @staticmethod
    def use(file):
        """Maps the file, locked for this process as long as it lives."""
        own = os.open(f"/proc/self/fd/{file}", os.O_RDWR)
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(file)
        os.ftruncate(own, 1 << 30)
        return mmap.mmap(own, 1 << 30)

    def holder(self):
        """Starts a process that uses the memory as a server does."""
        made = subprocess.Popen(
            [sys.executable, "-c", HOLDER, os.path.dirname(os.path.dirname(__file__)), self.directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert made.stdout.readline() == "uses\n"
        return made

    def kill(self):
        """Ends the keeper if there is one, for the end of a test."""
        done = run(BINARY, "keeper", "status", "--json", "--directory", self.directory, check=False)
        if done.returncode == 0:
            os.kill(json.loads(done.stdout)["process"], signal.SIGKILL)
