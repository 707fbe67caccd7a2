"""`hugemem keeper`: memory that outlives the processes that use it."""

import array
import json
import os
import random
import re
import signal
import socket
import subprocess

import pytest

from support.compare import eventually
from support.keeper import Keeper
from support.server import BINARY
from support.tools import needs, refused, run


@pytest.fixture
def keeper(tmp_path):
    """A keeper of a directory of its own."""
    made = Keeper(f"{tmp_path}/run")
    made.command("start")
    yield made
    made.kill()


def has_no_connection(process):
    """A keeper has standard input, output and errors, the file, the socket and the lock, and no more."""
    return sorted(os.listdir(f"/proc/{process}/fd")) == list("012345")


def is_alive(process):
    return os.path.exists(f"/proc/{process}/fd/0")


def test_memory_outlives_a_process_that_is_killed(keeper):
    holder = keeper.holder()
    status = keeper.status()
    assert status["isUsed"] and status["server"] == holder.pid
    assert status["size"] == 1 << 30 and 4096 <= status["memory"] <= 2 << 20
    holder.kill()
    holder.wait()
    status = keeper.status()
    assert not status["isUsed"] and "server" not in status and status["memory"] >= 4096
    connection, file = keeper.take()
    with connection:
        assert keeper.use(file)[5 << 20:(5 << 20) + 6] == b"bytes\0"


def test_memory_that_is_used_is_not_dropped(keeper, tmp_path):
    holder = keeper.holder()
    refused(f"the server with process number {holder.pid} uses the memory", BINARY, "keeper", "end", "--directory", keeper.directory)
    process = keeper.process
    holder.kill()
    holder.wait()
    assert f"process {process}, has dropped the memory" in keeper.command("end").stdout
    eventually(lambda: not is_alive(process), "the end of the keeper")
    assert os.listdir(keeper.directory) == ["keeper.lock"]
    for name in ("end", "status"):
        refused("no keeper", BINARY, "keeper", name, "--directory", keeper.directory)


def test_dropped_memory_is_free(keeper):
    """The end of the keeper is the end of the last that had the file."""
    process = keeper.process
    connection, file = keeper.take()
    os.ftruncate(file, 1 << 30)
    os.pwrite(file, b"x" * (8 << 20), 0)
    assert keeper.status()["memory"] == 8 << 20
    os.close(file)
    keeper.command("end")
    with connection:
        assert connection.recv(1) == b""
    keeper.command("start")
    assert keeper.process != process and keeper.status()["memory"] == 0


def test_for_people(keeper):
    lines = keeper.command("status").stdout.splitlines()
    assert re.fullmatch(r"keeper   process \d+, since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[0])
    assert lines[1] == "used by  nobody"
    assert lines[2] == "memory   0 B, in a file of 0 B with holes"
    assert re.match("kind     a (tmpfs of its own|memfd)", lines[3])


def test_two_that_start_at_once_get_one_keeper(tmp_path):
    keeper = Keeper(f"{tmp_path}/run")
    try:
        command = [BINARY, "keeper", "start", "--directory", keeper.directory]
        starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        said = [one.communicate(timeout=60)[0] for one in starting]
        assert [one.returncode for one in starting] == [0] * 8
        assert sum(one.startswith("started a keeper") for one in said) == 1
        assert len({re.search(r"process (\d+)", one)[1] for one in said}) == 1
    finally:
        keeper.kill()


def test_a_dead_keeper_leaves_a_socket_that_is_replaced(keeper):
    process = keeper.process
    os.kill(process, signal.SIGKILL)
    eventually(lambda: not is_alive(process), "the end of the keeper")
    assert os.path.exists(keeper.socket)
    refused("no keeper", BINARY, "keeper", "status", "--directory", keeper.directory)
    assert "started a keeper" in keeper.command("start").stdout
    assert keeper.process != process


def test_what_ends_a_terminal_does_not_end_a_keeper(keeper):
    process = keeper.process
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        os.kill(process, number)
    assert keeper.process == process
    assert os.getsid(process) == process != os.getsid(0)
    assert os.readlink(f"/proc/{process}/cwd") == "/"
    assert [os.readlink(f"/proc/{process}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
    # And it ends when it is told to.
    os.kill(process, signal.SIGTERM)
    eventually(lambda: not is_alive(process), "the end of the keeper")


def test_a_keeper_gets_nothing_that_the_starter_had(tmp_path, monkeypatch):
    keeper = Keeper(f"{tmp_path}/run")
    monkeypatch.setenv("SECRET", "word")
    read, write = os.pipe()
    try:
        subprocess.run([BINARY, "keeper", "start", "--directory", keeper.directory], pass_fds=[write], check=True)
        os.close(write)
        assert os.read(read, 1) == b"", "the keeper has the pipe"
        with open(f"/proc/{keeper.process}/environ", "rb") as environment:
            assert b"SECRET" not in environment.read()
    finally:
        keeper.kill()


@pytest.mark.parametrize("request_", [
    b"x", b"\0", b"\n", b"hugemem 1", b"hugemem 1 take ", b"hugemem 1 take\0", b"hugemem 2 take", b"HUGEMEM 1 END", b"\xff" * 512,
    b"hugemem 1 end" * 100, b"x" * 60000])
def test_a_request_that_is_none(keeper, request_):
    process = keeper.process
    text, given = keeper.ask(request_)
    assert text.startswith(b"refused ") and given == []
    assert keeper.process == process


def test_garbage(keeper):
    process, chance = keeper.process, random.Random(1)
    for _ in range(300):
        with keeper.connect() as connection:
            for _ in range(chance.randrange(4)):
                given = [0] * chance.choice([0, 0, 1, 16, 100])
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
                try:
                    connection.sendmsg([chance.randbytes(chance.randrange(0, 600))], rights)
                except (BrokenPipeError, ConnectionResetError):
                    break  # It has refused the one before.
    assert keeper.process == process
    eventually(lambda: has_no_connection(process), "the end of the descriptors that clients sent")


def test_more_connections_than_there_is_room_for(keeper):
    process = keeper.process
    many = [keeper.connect() for _ in range(60)]
    said = []
    for one in many:
        try:
            one.send(b"hugemem 1 take")
            said.append(one.recv(512).split()[0])
        except (BrokenPipeError, ConnectionResetError):
            said.append(b"closed")
    # It waits with 16 until they have read why, and closes more. How long they take is the machine's.
    assert said[:48] == [b"file"] * 32 + [b"refused"] * 16 and set(said[48:]) <= {b"refused", b"closed"}
    # A command is told why.
    refused("too many connections", BINARY, "keeper", "status", "--directory", keeper.directory)
    for one in many:
        one.close()
    eventually(
        lambda: run(BINARY, "keeper", "status", "--directory", keeper.directory, check=False).returncode == 0, "room for a connection")
    eventually(lambda: has_no_connection(process), "the end of the connections")
    assert keeper.process == process


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_gets_nothing(keeper, tmp_path):
    needs("setpriv")
    # Even if somebody opens the directory.
    for path, mode in ((tmp_path, 0o755), (keeper.directory, 0o755), (keeper.socket, 0o666)):
        os.chmod(path, mode)
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "s.send(b'hugemem 1 take')\n"
        "text, rights, _, _ = s.recvmsg(512, 4096)\n"
        "print(text.decode(), len(rights))\n")
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    said = run(*other, "/usr/bin/python3", "-c", program, keeper.socket).stdout
    assert said == "refused only the user 0 and root may ask 0\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_root_may_look_at_the_keeper_of_a_user(tmp_path):
    needs("setpriv")
    os.chmod(tmp_path, 0o777)
    keeper = Keeper(f"{tmp_path}/run")
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try:
        run(*other, BINARY, "keeper", "start", "--directory", keeper.directory)
        assert os.stat(f"/proc/{keeper.process}").st_uid == 65534
        assert os.stat(keeper.socket).st_mode & 0o777 == 0o600
    finally:
        keeper.kill()


def test_a_keeper_that_does_not_answer(keeper):
    process = keeper.process
    os.kill(process, signal.SIGSTOP)
    try:
        refused(f"process {process}. does not answer", BINARY, "keeper", "status", "--directory", keeper.directory)
    finally:
        os.kill(process, signal.SIGCONT)
    assert keeper.process == process


def test_a_directory_that_others_can_enter(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    refused("open to nobody else", BINARY, "keeper", "start", "--directory", tmp_path / "open")


def test_a_keeper_is_not_started_by_hand(tmp_path):
    refused("a server starts its keeper itself", BINARY, "keeper", "run", "--directory", tmp_path, close_fds=True)


def test_what_a_keeper_costs(keeper, figure):
    with open(f"/proc/{keeper.process}/smaps_rollup") as file:
        sizes = dict(re.findall(r"^(Rss|Pss|Anonymous): +(\d+ kB)$", file.read(), re.M))
    figure(", ".join(f"{name} {size}" for name, size in sizes.items()))
    with open(f"/proc/{keeper.process}/status") as file:
        assert re.search(r"^Threads:\t1$", file.read(), re.M)


def test_a_server_without_survive_tells_of_memory_that_is_kept(keeper, server, tmp_path):
    server()  # run0
    keeper = Keeper(f"{tmp_path}/run1")
    keeper.command("start")
    try:
        made = server()
        assert "a keeper has memory of an earlier server" in made.log.read_text()
        made.kill()
    finally:
        keeper.kill()


def test_a_stored_descriptor_is_no_listening_socket(server, tmp_path):
    """As systemd gives both at the start."""
    script = tmp_path / "store.py"
    script.write_text(
        "import os, sys\n"
        "os.dup2(os.memfd_create('memory'), 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='hugemem-memory')\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n")
    made = server(create="a=1M", launcher=["/usr/bin/python3", script])
    assert "keeps memory of an earlier server" in made.log.read_text()
    run("nbdinfo", "--size", made.uri("a"))
