"""What a service manager sees: the messages of sd_notify(3), and a reload."""

import os
import signal
import socket

import pytest

from support.tools import run


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """A socket for the messages of a server that is started from now on."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(30)
    name = str(tmp_path / "notify") if request.param == "path" else f"@hugemem-test-{os.getpid()}"
    made.bind(name.replace("@", "\0", 1))
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with made:
        yield made


def test_ready_reloading_and_stopping(manager, server, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("* * all\n")
    made = server("--rules", rules, create=("a=1M", "b=1M"))
    assert manager.recv(4096).decode().splitlines() == ["READY=1", f"STATUS=2 disks, memory limit {limit(made)}"]
    made.process.send_signal(signal.SIGHUP)
    assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert manager.recv(4096).startswith(b"READY=1\n")
    # It takes clients when it says so.
    run("nbdinfo", "--size", made.uri("a"))
    made.stops_cleanly()
    assert manager.recv(4096) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1)


def limit(server):
    return server.output.read_text().split("memory limit ")[1].split(",")[0]


@pytest.mark.parametrize("name", ["", "relative", "/nosuch/socket", "@", "/" + "x" * 200, "vsock:2:1"])
def test_a_manager_that_is_not_there(name, server, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    made = server(create="a=1M")
    run("nbdinfo", "--size", made.uri("a"))
    made.stops_cleanly()
