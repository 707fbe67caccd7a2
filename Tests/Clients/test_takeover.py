"""A new server takes over from a running one: disks, memory, sockets. Clients connect again."""

import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from support.compare import eventually
from support.keeper import Keeper
from support.server import BINARY, Server
from support.tools import run

MIB = 1 << 20


@pytest.fixture
def start(tmp_path):
    """start(OPTION...): a server that survives. All are in one directory."""
    servers = []

    def start(*options, **more):
        servers.append(Server(tmp_path / "server", "--survive", "--memory", "256M", *options, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
    subprocess.run([BINARY, "keeper", "end", "--directory", str(tmp_path / "server")], capture_output=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def test_everything_is_the_new_servers(start, tmp_path):
    extra = tmp_path / "more.sock"
    options = ("--tcp", "127.0.0.1:0", "--unix", extra, "--http", "127.0.0.1:0")
    old = start(*options, "--create", "disk=64M")
    port = old.tcp
    old.go("disk").write(MIB, b"d" * MIB)
    old.run("fork", "disk", "fork")
    new = start(*options, "--takeover")
    assert old.process.wait(20) == 0, "the old one has ended"
    assert new.tcp == port, "the same port, though any was asked for"
    for transport in ("unix", "tcp"):
        assert new.go("fork", transport=transport).read(MIB, MIB) == b"d" * MIB
    assert new.disk("fork")["origin"] == "disk"
    # A stop removes the sockets, as that of any server.
    assert new.stop() == 0
    assert not extra.exists() and not (tmp_path / "server/nbd.sock").exists()


def test_sockets_that_the_new_server_does_not_want_are_closed(start, tmp_path):
    extra = tmp_path / "more.sock"
    port = free_port()
    old = start("--unix", extra, "--tcp", f"127.0.0.1:{port}")
    new = start("--takeover", "--create", "disk=1M")
    old.process.wait(20)
    eventually(lambda: not extra.exists(), "the socket is gone")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert new.names() == ["disk"]


def test_clients_that_connect_meanwhile_wait(start):
    """No connection is refused, or broken before its greeting is there, however often servers change."""
    server = start("--create", "disk=64M")
    path = f"{server.directory}/nbd.sock"
    done, failures, greetings = threading.Event(), [], 0

    def connect():
        nonlocal greetings
        while not done.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(60)
                    client.connect(path)
                    greeting = client.recv(18, socket.MSG_WAITALL)
                    # A connection that the old server had accepted ends with it.
                    if greeting:
                        assert greeting[:8] == b"NBDMAGIC"
                        greetings += 1
            except ConnectionResetError:
                pass
            except OSError as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        following = start("--takeover")
        assert server.process.wait(20) == 0
        server = following
    done.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert greetings > 20


def test_takeover_under_load_loses_nothing_that_was_answered(start):
    server = start("--create", "disk=64M")
    written, done, failures = {}, threading.Event(), []

    def write(number):
        order = random.Random(number)
        at = number * 16 * MIB
        try:
            while not done.is_set():
                try:
                    wire = server.go("disk")
                    while not done.is_set():
                        offset = at + order.randrange(4096) * 4096
                        data = order.randbytes(8) * 512
                        before, written[offset] = written.get(offset), (written.get(offset, (None,))[-1], data)
                        assert wire.error(1, offset, 4096, 0, data) == 0
                        written[offset] = (data,)
                    wire.close()
                except (OSError, EOFError):
                    continue
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(0.2)
        old, server = server, start("--takeover")
        assert old.process.wait(20) == 0
    done.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    wire = server.go("disk")
    for offset, possible in written.items():
        found = wire.read(offset, 4096)
        assert any(found == (data or bytes(4096)) for data in possible), f"the page at {offset}"
    assert len(written) > 100


@pytest.mark.deadline(300)
@pytest.mark.parametrize("victim", ["old", "new", "both"])
def test_kills_in_the_middle_of_a_takeover(start, figure, victim):
    """Whatever is left then, or the next start, has every write that was answered."""
    chance = random.Random(int(os.environ.get("SEED") or 1))
    server, left = start("--create", "disk=64M"), {"the old one": 0, "the new one": 0, "none": 0}
    for turn in range(20):
        wire, written = server.go("disk"), 0
        new = start("--takeover", waits=False)
        end = time.monotonic() + chance.random() / 8
        try:
            while time.monotonic() < end:
                assert wire.error(1, written * 4096, 4096, 0, bytes([turn + 1]) * 4096) == 0
                written += 1
        except (OSError, EOFError):
            time.sleep(max(0, end - time.monotonic()))
        for one in (server, new):
            if victim in ("both", "old" if one is server else "new"):
                one.kill()
        # Who lives is ready, gives up, or ends because it has handed over.
        eventually(lambda: new.is_ready() or new.process.poll() is not None, "the new one is ready or gives up")
        if new.process.poll() is None:
            who, server = "the new one", new
        else:
            time.sleep(0.2)
            who = "the old one" if server.process.poll() is None else "none"
        left[who] += 1
        if who == "none":
            server = start()
        assert server.go("disk").read(0, written * 4096) == bytes([turn + 1]) * 4096 * written
        assert server.names() == ["disk"]
    figure(f"left: {left}")


def test_a_new_server_that_cannot_read_the_memory_leaves_the_old_one(start, tmp_path):
    server = start("--create", "disk=1M")
    server.go("disk").write(0, b"d" * 4096)
    _, file = Keeper(server.directory).take()
    memory = os.open(f"/proc/self/fd/{file}", os.O_RDWR)
    version = os.pread(memory, 8, 8)
    os.pwrite(memory, b"\7" + version[1:], 8)
    takeover = [BINARY, "serve", "--directory", server.directory, "--survive", "--memory", "256M", "--takeover"]
    done = run(*takeover, check=False)
    assert done.returncode == 1
    assert "is damaged" in done.stderr and "the other server goes on" in done.stderr, done.stderr
    assert server.go("disk").read(0, 4096) == b"d" * 4096
    os.pwrite(memory, version, 8)
    os.close(memory), os.close(file)
    # A wrong option ends only the new one too, and its sockets stay.
    server.run("limit", "disk", "--reserve", "100M")
    for wrong in (
            ["--tls-certificates", tmp_path / "nosuch"], ["--unix", "/nosuch/socket"], ["--rules", tmp_path / "none"],
            ["--create", "new=0"], ["--create", "a/b/=1M"], ["--import", f"new={tmp_path}/none"],
            ["--import", f"new={tmp_path}"], ["--memory", "64M"], ["--memory", "2M"]):
        assert run(*takeover, *wrong, check=False).returncode != 0, wrong
        assert server.go("disk").read(0, 4096) == b"d" * 4096
        assert server.names() == ["disk"]
    # So does one that is killed before it is ready.
    for pause in (0.001, 0.01, 0.02, 0.05):
        process = subprocess.Popen(takeover, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        try:
            found = server.go("disk").read(0, 4096)
        except (OSError, EOFError):
            # The old one had been told to end just before.
            server.process.wait(10)
            server = start()
            found = server.go("disk").read(0, 4096)
        assert found == b"d" * 4096


def test_a_server_that_does_not_answer(start):
    """Who asks it is told after a while. What it has is not touched."""
    server = start("--create", "disk=1M")
    server.process.send_signal(signal.SIGSTOP)
    try:
        asked = [
            subprocess.Popen(server.command(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for command in (["list"], ["serve", "--survive", "--takeover"])]
        for process in asked:
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 1 and "has not answered for 20 seconds" in said, said
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert server.names() == ["disk"]


def test_it_needs_a_server_that_survives(server, tmp_path):
    plain = server(memory="64M")
    options = ("serve", "--directory", plain.directory, "--memory", "64M", "--takeover")
    done = run(BINARY, *options, "--survive", check=False)
    assert done.returncode == 1 and "started without --survive" in done.stderr, done.stderr
    done = run(BINARY, *options, check=False)
    assert done.returncode == 64 and "needs --survive" in done.stderr
    done = run(BINARY, "serve", "--directory", tmp_path / "none", "--survive", "--takeover", check=False)
    assert done.returncode == 1 and "no server answers" in done.stderr
    assert plain.names() == []


def test_a_service_manager_does_it_in_its_own_way(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        server = Server(tmp_path / "server", "--survive", "--memory", "64M", "--create", "disk=1M")
    monkeypatch.delenv("NOTIFY_SOCKET")
    try:
        done = run(BINARY, "serve", "--directory", server.directory, "--survive", "--takeover", check=False)
        assert done.returncode == 1 and "restart it there" in done.stderr, done.stderr
        assert server.names() == ["disk"]
    finally:
        server.kill()
        Keeper(server.directory).command("end")


@pytest.mark.parametrize("how", ["takeover", "kill"])
def test_qemu_connects_again(start, how):
    """A request of qemu's that finds no server waits for the next one (reconnect-delay)."""
    server = start("--create", "disk=64M")
    qemu = subprocess.Popen(
        ["qemu-io", "--image-opts",
         f"driver=nbd,server.type=unix,server.path={server.directory}/nbd.sock,export=disk,reconnect-delay=60"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        qemu.stdin.write("write -P 1 0 1M\n")
        qemu.stdin.flush()
        eventually(lambda: server.disk("disk")["data"] >= MIB, "the first write is there")
        if how == "takeover":
            new = start("--takeover")
            server.process.wait(20)
        else:
            server.kill()
            # Asked while nobody is there.
            qemu.stdin.write("write -P 2 1M 1M\n")
            qemu.stdin.flush()
            new = start()
        said, _ = qemu.communicate("write -P 3 2M 1M\nread -P 1 0 1M\nquit\n", 60)
    finally:
        qemu.kill()
    assert qemu.returncode == 0 and "error" not in said and "failed" not in said, said
    wire = new.go("disk")
    assert wire.read(0, MIB) == b"\1" * MIB and wire.read(2 * MIB, MIB) == b"\3" * MIB
    if how == "kill":
        assert wire.read(MIB, MIB) == b"\2" * MIB
