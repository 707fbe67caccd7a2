"""SIGTERM and SIGINT while the server is busy. The status is 0, no sockets are left, and clients
see the end of their connections. After SIGKILL a new server takes over the directory."""

import signal
import stat
import subprocess
import threading

import pytest

from support.compare import eventually, noise
from support.server import Server
from support.tools import needs, run

MIB = 1 << 20


class Busy:
    """Keeps a server busy until it is gone, with writers, readers, and a client that makes
    forks."""

    def __init__(self, server, image):
        needs("nbdcopy")
        loops = 3 * [
            [["nbdcopy", "--connections=4", str(image), server.uri("data")]],
            [["nbdcopy", "--connections=2", server.uri("data@"), "null:"]],
        ] + [[server.command("fork", "data", "passing"), server.command("remove", "passing")]]
        self.threads = [threading.Thread(target=self.loop, args=(commands,), daemon=True) for commands in loops]
        for thread in self.threads:
            thread.start()

    def loop(self, commands):
        while all(subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 timeout=100).returncode == 0 for command in commands):
            pass

    def join(self):
        """Waits for the threads, whose loops end with the server."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client did not notice the server's end"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_with_clients_at_work_ends_it_cleanly_and_them(server, tmp_path, number):
    image = tmp_path / "image"
    image.write_bytes(noise(64 * MIB))
    server = server("--tcp", "127.0.0.1:0", create="data=64M")
    busy = Busy(server, image)
    eventually(lambda: sum(disk["connections"] for disk in server.json("list")) >= 6
               and server.stat()["memoryUsed"] > MIB, "the clients are at work")
    server.stops_cleanly(number)
    busy.join()


@pytest.fixture
def killed(server):
    """A server that was killed by SIGKILL."""
    server = server(create="data=1G")
    server.kill()
    return server


def test_after_sigkill_its_sockets_are_still_there(killed):
    assert stat.S_ISSOCK((killed.directory / "nbd.sock").stat().st_mode)


def test_after_sigkill_commands_say_that_nobody_answers(killed):
    killed.refused("no server answers", "list")


def test_after_sigkill_a_new_server_takes_the_directory_over(killed):
    again = Server(killed.directory, "--create", "new=1M")
    try:
        assert run("nbdinfo", "--size", again.uri("new")).stdout == f"{MIB}\n"
        again.stops_cleanly()
    finally:
        again.kill()
