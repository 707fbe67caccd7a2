"""What a service manager sees: the messages of sd_notify(3), and a reload."""

import os
import signal
import socket

import pytest

from support.server import Server
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


@pytest.fixture
def activated(tmp_path):
    """activated({NAME: SOCKET}, OPTION...): starts a server with sockets that are open already, as systemd does."""
    servers = []

    def start(sockets, *options):
        script = tmp_path / "activate.py"
        script.write_text(
            "import os, sys\n"
            "count = int(sys.argv[1]); given = list(map(int, sys.argv[2:2 + count]))\n"
            "moved = [os.dup2(os.dup(one), 100 + i) for i, one in enumerate(given)]\n"
            "for i, one in enumerate(moved): os.dup2(one, 3 + i)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=sys.argv[2 + count])\n"
            "os.execv(sys.argv[3 + count], sys.argv[3 + count:])\n")
        numbers = [one.fileno() for one in sockets.values()]
        launcher = ["/usr/bin/python3", script, str(len(numbers)), *map(str, numbers), ":".join(sockets)]
        servers.append(Server(tmp_path / "run", *options, launcher=launcher, pass_fds=numbers))
        return servers[-1]

    yield start
    for one in servers:
        one.kill()


def listening(family, address):
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


def test_socket_activation(activated, tmp_path):
    path = str(tmp_path / "mine.sock")
    nbd, tcp = listening(socket.AF_UNIX, path), listening(socket.AF_INET, ("127.0.0.1", 0))
    control, page = listening(socket.AF_UNIX, str(tmp_path / "c.sock")), listening(socket.AF_INET6, ("::1", 0))
    # A client that came before the server waits for it.
    early = socket.create_connection(tcp.getsockname())
    made = activated({"nbd": nbd, "": tcp, "control": control, "http": page}, "--create", "a=1M")
    assert early.recv(8) == b"NBDMAGIC"
    run("nbdinfo", "--size", f"nbd+unix:///a?socket={path}")
    run("nbdinfo", "--size", "nbd://127.0.0.1:%d/a" % tcp.getsockname()[1])
    run("curl", "-sf", "--unix-socket", tmp_path / "c.sock", "http://localhost/v1/disks/a")
    run("curl", "-sf", "http://[::1]:%d/v1/disks/a" % page.getsockname()[1])
    # The manager's sockets stay, and wait for the next server.
    assert made.stop() == 0
    assert os.path.exists(path) and os.path.exists(tmp_path / "c.sock")
    made = activated({"nbd": nbd}, "--create", "b=1M")
    run("nbdinfo", "--size", f"nbd+unix:///b?socket={path}")


@pytest.mark.parametrize("name, says", [("contrl", "use one of the names nbd, control, http"), ("control", "one Unix socket")])
def test_sockets_that_nobody_would_serve(name, says, activated):
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as tcp, pytest.raises(AssertionError, match=says):
        activated({name: tcp})


def test_uris_name_the_socket_of_the_manager(activated, tmp_path):
    with listening(socket.AF_UNIX, str(tmp_path / "mine.sock")) as mine:
        made = activated({"hugemem.socket": mine}, "--create", "a=1M")
        assert f"nbd+unix:///a?socket={tmp_path}/mine.sock" in made.said()
        run("nbdinfo", "--size", made.json("list")[0]["uri"])


def test_sockets_for_another_process_are_left_alone(server, monkeypatch):
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "5")
    run("nbdinfo", "--size", server(create="a=1M").uri("a"))


def test_a_descriptor_that_is_no_listening_socket(activated):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong, pytest.raises(AssertionError, match="no listening stream socket"):
        activated({"nbd": wrong})


def limit(server):
    return server.output.read_text().split("memory limit ")[1].split(",")[0]


@pytest.mark.parametrize("name", ["", "relative", "/nosuch/socket", "@", "/" + "x" * 200, "vsock:2:1"])
def test_a_manager_that_is_not_there(name, server, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    made = server(create="a=1M")
    run("nbdinfo", "--size", made.uri("a"))
    made.stops_cleanly()
