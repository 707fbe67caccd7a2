"""New keys and new handshakes in the middle of a TLS connection. `openssl s_client` makes them, since
no NBD client here does before it has sent very much."""

import contextlib
import fcntl
import socket
import struct
import subprocess
import termios
import threading

import pytest

from support.compare import eventually, noise, same_bytes
from support.tls import Pki, begun, by_hand
from support.tools import needs


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def allowed(server, pki):
    return server("--tcp", "127.0.0.1:0", "--tls-verify-client", *pki.options, create="data=64M")


class Through:
    """`openssl s_client` between a raw connection and the test. It stands in for a Wire's socket."""

    def __init__(self, server, pki, *options):
        needs("openssl")
        raw = begun(server).socket
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.process = subprocess.Popen(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-brief",
                 "-CAfile", pki.alice / "ca-cert.pem", "-cert", pki.alice / "client-cert.pem",
                 "-key", pki.alice / "client-key.pem", *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
            own, _ = listener.accept()
        self.sockets = (raw, own)
        for source, target in ((raw, own), (own, raw)):
            threading.Thread(target=self.pump, args=(source, target), daemon=True).start()

    @staticmethod
    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def command(self, letter):
        """A letter at the beginning of its input is a command. It must take the letter alone."""
        pipe = self.process.stdin.fileno()

        def taken():
            # What it has not taken stays in the pipe when it ends. The next write says that it did.
            return self.process.poll() is not None or struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0] == 0

        eventually(taken, "openssl has taken what came before")
        self.process.stdin.write(letter + b"\n")
        eventually(taken, "openssl has taken the command")

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view):]

    def recv(self, count):
        return self.process.stdout.read(count)

    def close(self):
        self.process.kill()
        self.process.wait()
        for one in self.sockets:
            one.close()


@contextlib.contextmanager
def through_openssl(server, pki, *options):
    wire = server.wire(transport="tcp")
    wire.socket.close()
    wire.socket = Through(server, pki, *options)
    try:
        yield wire.go("data")
    finally:
        wire.close()


@pytest.mark.parametrize("letter", [b"K", b"k"], ids=["both-sides", "client"])
def test_new_keys_in_the_middle(allowed, pki, letter):
    with through_openssl(allowed, pki, "-tls1_3") as wire:
        # GnuTLS takes 8 within a second, and ends a connection that sends more.
        for number in range(6):
            data = noise(20000, number)
            wire.write(number * 20000, data)
            wire.socket.command(letter)
            same_bytes(wire.read(number * 20000, 20000), data, "what was written before the new keys")


def test_new_keys_without_end_do_not_hurt(allowed, pki):
    with through_openssl(allowed, pki, "-tls1_3") as wire:
        with contextlib.suppress(EOFError, BrokenPipeError):
            for _ in range(100):
                wire.socket.command(b"K")
            wire.read(0, 512)
    eventually(lambda: allowed.disk("data")["connections"] == 0, "nobody is connected")
    by_hand(allowed, pki)[0].write(0, b"goes on")


def test_a_new_handshake_in_the_middle_does_not_hurt(allowed, pki):
    """TLS 1.2 has it. The server may refuse it or end the connection."""
    with through_openssl(allowed, pki, "-tls1_2") as wire:
        wire.write(0, b"before")
        wire.socket.command(b"R")
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            assert wire.read(0, 6) == b"before"
    by_hand(allowed, pki)[0].write(0, b"after")
    assert allowed.go("data").read(0, 5) == b"after"
