"""Who may do what: rules by identity, limits of one client, and what a tenant can reach."""

import os
import signal
import struct
import subprocess
import textwrap

import pytest

from support.compare import eventually, same_bytes
from support.server import BINARY
from support.tls import context
from support.tools import refused, run
from support.wire import (
    ACK, ENOSPC, EPERM, EXPORT_NAME, GO, INFO, LIST, LIST_META, POLICY, READ, REP_SERVER, SET_META,
    STRUCTURED_REPLY, TRIM, UNKNOWN, WRITE, text)
from test_tls import Pki

MIB = 1 << 20


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = Pki(tmp_path_factory.mktemp("rules"))
    made.bob = made.authority.issue(made.server.parent / "bob", "client", "bob")
    return made


@pytest.fixture
def ruled(server, pki, tmp_path):
    """ruled(TEXT, DISK...): a server with rules, and disks of 1 MiB each."""
    def start(rules, *disks):
        path = tmp_path / "rules"
        path.write_text(textwrap.dedent(rules))
        made = server("--tcp", "127.0.0.1:0", *pki.options, "--rules", path, memory="128M",
                      create=[f"{disk}=1M" for disk in disks])
        made.rules = path
        return made
    return start


TENANTS = """
    # who          disks       may
    cert:alice     golden      read,fork
    cert:*         job-$name   write
    cert:*         job-$name-* write,fork
    psk:*          *           none
    uid:0          *           all
    *              public      read
    *              *           none
    """


@pytest.fixture
def tenants(ruled):
    return ruled(TENANTS, "golden", "job-alice", "job-bob", "public")


def alice(server, pki):
    return server.wire(transport="tcp").secure(context(pki.alice))


def listed(wire):
    return [payload[4:4 + payload[3]].decode() for kind, payload in wire.option(LIST) if kind == REP_SERVER]


def test_a_list_shows_what_may_be_read(tenants, pki):
    assert listed(alice(tenants, pki)) == ["golden", "job-alice", "public"]
    assert listed(tenants.wire(transport="tcp").secure(context(pki.bob))) == ["job-bob", "public"]
    assert listed(tenants.wire(transport="tcp")) == ["public"]
    assert listed(tenants.wire()) == ["golden", "job-alice", "job-bob", "public"]


def test_read_without_write_is_a_read_only_export(tenants, pki):
    wire = alice(tenants, pki).go("golden")
    assert wire.flags & 2
    assert wire.error(WRITE, 0, 1, payload=b"x") == EPERM and wire.error(TRIM, 0, 4096) == EPERM
    assert wire.read(0, 4096) == bytes(4096)
    tenants.go("golden").write(0, b"root")


def test_own_disks_can_be_written(tenants, pki):
    wire = alice(tenants, pki).go("job-alice")
    wire.write(0, b"mine")
    assert wire.read(0, 4) == b"mine" and not wire.flags & 2


@pytest.mark.parametrize("export", [
    "job-bob", "nosuch", "job-bob@x", "job-bob@", "job-alice@job-bob", "@job-bob", "@", "job-bob@job-alice", "golden@job-bob",
    "job-alice\0", "job-bo?", "job-*", ".", "../job-bob", "JOB-BOB"])
def test_a_tenant_reaches_no_other_disk_by_any_name(tenants, pki, export):
    """A disk of another answers as one that does not exist, or that is not what the name says."""
    for code in (INFO, GO):
        assert alice(tenants, pki).status(code, text(export) + b"\0\0") in (UNKNOWN, POLICY, 1 << 31 | 3)
    wire = alice(tenants, pki)
    assert wire.status(STRUCTURED_REPLY) == ACK
    for code in (LIST_META, SET_META):
        assert wire.meta(code, export, "base:allocation")[0] != ACK
    wire.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, len(export.encode())) + export.encode())
    assert wire.is_closed()
    assert "nosuch" not in tenants.names() and len(tenants.names()) == 4


def test_another_tenants_disk_answers_as_one_that_is_not_there(tenants, pki):
    def answer(export):
        (reply,) = alice(tenants, pki).option(GO, text(export) + b"\0\0")
        return reply[0], reply[1].decode().replace(export.split("@")[0], "NAME")
    assert answer("job-bob") == answer("nosuch")
    assert answer("job-bob@x") == answer("nosuch@x")


@pytest.mark.parametrize("source", ["nosuch", "job-bob", "public", "job-alice"])
@pytest.mark.parametrize("code", [INFO, GO])
def test_a_name_after_an_at_tells_nothing_either(tenants, pki, source, code):
    def answer(fork):
        (reply,) = alice(tenants, pki).option(code, text(f"{source}@{fork}") + b"\0\0")
        return reply[0], reply[1].decode().replace(f'"{source}"', "SOURCE").replace(fork, "NAME")
    assert answer("job-bob") == answer("unused"), "a disk of another is as a name that was never used"


def test_who_may_fork_sees_that_a_name_is_taken_but_nothing_else(tenants, pki):
    (reply,) = alice(tenants, pki).option(GO, text("golden@job-bob") + b"\0\0")
    assert reply[0] == POLICY and b"exists already" in reply[1] and b"fork of" not in reply[1]


def test_the_empty_name_does_not_tell_the_only_disk(ruled, pki):
    server = ruled("uid:0 * all\n", "hidden")
    (reply,) = alice(server, pki).option(GO, text("") + b"\0\0")
    assert reply[0] == UNKNOWN and b"hidden" not in reply[1]
    server.wire().go("")


def test_the_empty_name_tells_no_number_of_disks(tenants, pki):
    (reply,) = alice(tenants, pki).option(GO, text("") + b"\0\0")
    assert reply[0] == UNKNOWN and not any(character.isdigit() for character in reply[1].decode())


def test_forks_belong_to_who_made_them(tenants, pki):
    fork = alice(tenants, pki).go("golden@scratch")
    fork.write(0, b"alice's")
    alice(tenants, pki).go("golden@scratch").write(8, b"again")
    alice(tenants, pki).go("golden@").write(0, b"temporary")
    bob = tenants.wire(transport="tcp").secure(context(pki.bob))
    assert bob.status(GO, text("scratch") + b"\0\0") == UNKNOWN
    assert bob.status(GO, text("golden@scratch") + b"\0\0") == UNKNOWN
    assert bob.status(GO, text("golden@mine") + b"\0\0") == UNKNOWN
    assert "scratch" not in listed(bob)
    assert alice(tenants, pki).go("scratch@deeper").size == MIB, "an owner may fork"


def test_read_without_fork_says_why(ruled, pki):
    server = ruled("cert:alice golden read\n", "golden")
    (reply,) = alice(server, pki).option(GO, text("golden@job") + b"\0\0")
    assert reply[0] == POLICY and b"do not let you fork" in reply[1]


def test_keys_and_clients_without_certificates(ruled, pki):
    server = ruled("psk:bob data write\nanonymous public read\n", "data", "public")
    uri = f"nbds://bob@{server.tcp}/data?tls-psk-file={pki.keys}"
    assert run("nbdinfo", "--size", uri).stdout == f"{MIB}\n"
    refused("no export named", "nbdinfo", "--size", uri.replace("/data", "/public"))
    assert run("nbdinfo", "--size", f"nbd://{server.tcp}/public").stdout == f"{MIB}\n"
    refused("no export named", "nbdinfo", "--size", f"nbd://{server.tcp}/data")


def test_imports_by_other_programs_need_no_rule_and_are_nobody_elses(ruled, pki, tmp_path):
    server = ruled("cert:* * all\n", "data")
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "image", "1M")
    server.run("import", "disk", tmp_path / "image")
    assert server.names() == ["data", "disk"]
    held = subprocess.Popen([*server.command("export", "disk", tmp_path / "out", "--format", "qcow2")])
    assert alice(server, pki).status(GO, text(".export-2") + b"\0\0") == UNKNOWN
    assert held.wait(60) == 0


# Users of Unix sockets


def as_user(uid, code):
    """Runs Python code as another user."""
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-c", code],
        capture_output=True, text=True, timeout=60)


def lists_as(uid, path):
    code = f"""
import socket, struct
s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.settimeout(20)
s.recv(18); s.sendall(struct.pack('>I', 3) + b'IHAVEOPT' + struct.pack('>II', 3, 0))
data = b''
while data[-20:-8] != struct.pack('>QI', 0x3E889045565A9, 3) or data[-8:-4] != b'\\0\\0\\0\\1':
    data += s.recv(4096)
print(data.count(struct.pack('>I', 2) + b'\\0\\0'))
"""
    done = as_user(uid, code)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def shared(server, tmp_path):
    """shared(OPTION...): a server with a socket that every user can reach."""
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    os.chmod(tmp_path, 0o755)

    def start(*options):
        path = tmp_path / "shared.sock"
        made = server("--unix", path, *options, create=("data=1M", "public=1M"))
        os.chmod(path, 0o777)
        return path, made
    return start


def test_without_rules_other_users_see_nothing(shared):
    path, _ = shared()
    assert lists_as(0, path) == 2 and lists_as(65534, path) == 0


def test_tls_without_a_certificate_makes_nobody_of_another_user(shared, pki):
    """It must not turn a user without rights into a client of whom nothing is known."""
    path, _ = shared(*pki.options)
    code = f"""
import socket, ssl, struct
s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.settimeout(20)
s.recv(18); s.sendall(struct.pack('>I', 3) + b'IHAVEOPT' + struct.pack('>II', 5, 0)); s.recv(20)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
s = c.wrap_socket(s)
s.sendall(b'IHAVEOPT' + struct.pack('>II', 7, 10) + struct.pack('>I', 4) + b'data' + struct.pack('>H', 0))
print(struct.unpack('>I', s.recv(4096)[12:16])[0])
"""
    assert int(as_user(65534, code).stdout) == UNKNOWN
    assert int(as_user(0, code).stdout) == 3, "root gets the information"


def test_rules_let_another_user_in(shared, tmp_path):
    (tmp_path / "rules").write_text("uid:65534 public read\nuid:0 * all\n")
    path, _ = shared("--rules", tmp_path / "rules")
    assert lists_as(0, path) == 2 and lists_as(65534, path) == 1 and lists_as(65533, path) == 0


def test_the_control_socket_is_for_the_servers_user_and_root(shared):
    _, server = shared()
    os.chmod(server.directory, 0o777)
    os.chmod(server.directory / "control.sock", 0o777)
    done = as_user(65534, f"""
import socket
s = socket.socket(socket.AF_UNIX); s.connect({str(server.directory / 'control.sock')!r}); s.settimeout(20)
try: s.sendall(b'{{"list":{{}}}}\\n')
except BrokenPipeError: pass  # The server may be faster.
print(s.recv(4096))
""")
    assert "s user and root may do this" in done.stdout, done.stdout + done.stderr
    os.chmod(server.directory, 0o700)


# Changes


def test_sighup_changes_rules_for_new_and_old_connections(ruled, pki):
    server = ruled("cert:alice data write\ncert:alice other write\nuid:0 * all\n", "data", "other")
    data, other = alice(server, pki).go("data"), alice(server, pki).go("other")
    data.write(0, b"before")
    server.rules.write_text("cert:alice data nonsense\n")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "stay as they were" in server.log.read_text(), "the log tells of the fault")
    assert "line 1" in server.log.read_text()
    data.write(0, b"still ")
    server.rules.write_text("cert:alice data read\nuid:0 * all\n")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: data.error(WRITE, 0, 1, payload=b"s") == EPERM, "what is left is reading")
    assert data.read(0, 6) == b"still "
    other.request(READ, 0, 512)
    assert other.is_closed(), "a connection without any right ends"
    assert alice(server, pki).status(GO, text("other") + b"\0\0") == UNKNOWN
    server.disk("data")


# Limits of one client


def test_connections_of_one_client(ruled, pki):
    server = ruled("* * all\nlimit cert:alice connections=2\n", "data")
    wires = [alice(server, pki).go("data") for _ in range(2)]
    (reply,) = alice(server, pki).option(GO, text("data") + b"\0\0")
    assert reply[0] == POLICY and b"no more connections" in reply[1]
    server.wire(transport="tcp").secure(context(pki.bob)).go("data")
    wires[0].close()
    eventually(lambda: alice(server, pki).status(GO, text("data") + b"\0\0") == ACK, "one more after one less")


def test_forks_of_one_client(ruled, pki):
    server = ruled("* * all\nlimit cert:alice forks=2\n", "data")
    first = alice(server, pki).go("data@")
    alice(server, pki).go("data@kept")
    (reply,) = alice(server, pki).option(GO, text("data@more") + b"\0\0")
    assert reply[0] == POLICY and b"no more forks" in reply[1]
    alice(server, pki).go("data@kept")
    first.close()
    eventually(lambda: alice(server, pki).status(GO, text("data@more") + b"\0\0") == ACK, "one more after one less")


def test_memory_of_all_forks_of_one_client(ruled, pki):
    server = ruled("* * all\nlimit cert:alice memory=2M\n", *())
    server.run("create", "big", "--size", "64M")
    def fill(wire):
        for at in range(0, 8 * MIB, 65536):
            if wire.error(WRITE, at, 65536, payload=os.urandom(65536)) == ENOSPC:
                return at
        raise AssertionError("8 MiB fit")
    first, second = alice(server, pki).go("big@a"), alice(server, pki).go("big@b")
    assert MIB < fill(first) <= 2 * MIB
    assert fill(second) <= MIB // 2
    assert fill(alice(server, pki).go("a@deeper")) <= MIB // 2, "forks of forks count too"
    assert sum(server.disk(name)["own"] for name in "ab") <= 2 * MIB + 256 * 1024
    bob = server.wire(transport="tcp").secure(context(pki.bob)).go("big@c")
    bob.write(0, os.urandom(4 * MIB))


def test_requests_of_one_client_take_turns(ruled, pki, together):
    server = ruled("* * all\nlimit cert:alice requests=1\n", "data")
    def work(seed):
        wire = alice(server, pki).go("data")
        for number in range(50):
            wire.write(seed * 65536, bytes([number]) * 65536)
            same_bytes(wire.read(seed * 65536, 65536), bytes([number]) * 65536, "what was written")
    together(*(lambda seed=seed: work(seed) for seed in range(4)))


# The file


@pytest.mark.parametrize("line, wanted", [
    ("cert:a data", "write CLIENT DISKS RIGHTS"), ("cert:a data read extra", "write CLIENT"),
    ("alice data read", 'client "alice"'), ("cert: data read", "client"), ("cert:a data reed", 'rights "reed"'),
    ("cert:a data read,none", "rights"), ("cert:a data read,", "rights"), ("cert:a $user read", "after"),
    ("limit", "write limit"), ("limit cert:a", "write limit"), ("limit cert:a forks", "write a name"),
    ("limit cert:a forks=-1", "write a name"), ("limit cert:a forks=1K", "write a name"), ("limit cert:a discs=1", "use connections"),
    ("limit cert:a memory=99999999999T", "write a name"), ("limit cert:a requests=0", "1 or more"), ("limit bob forks=1", "client")])
def test_faults_are_named_with_their_line(tmp_path, line, wanted):
    (tmp_path / "rules").write_text(f"# a comment\n* public read\n{line}\n")
    refused(f"rules: line 3: .*{wanted}", BINARY, "rules", "check", tmp_path / "rules")
    refused(f"rules: line 3: .*{wanted}", BINARY, "serve", "--directory", tmp_path / "run", "--rules", tmp_path / "rules", timeout=20)


def test_all_faults_are_shown_at_once(tmp_path):
    (tmp_path / "rules").write_text("a\n* * all\nb\n")
    said = refused("line 1", BINARY, "rules", "check", tmp_path / "rules")
    assert "line 3" in said


@pytest.mark.parametrize("content, wanted", [
    (None, "No such file"), (b"\xff\xfe\n", "UTF-8"), (b"* * all\n" * 200_000, "at most 1 MiB"),
    (b"#\n" * 10_001, "at most 10000 lines")], ids=["none", "no text", "large", "many lines"])
def test_files_that_are_none(tmp_path, content, wanted):
    if content is not None:
        (tmp_path / "rules").write_bytes(content)
    refused(wanted, BINARY, "rules", "check", tmp_path / "rules")


def test_check_warns_and_answers(tmp_path):
    path = tmp_path / "rules"
    path.write_text("cert:ci-* golden read,fork\n* * none\ncert:x data read\n")
    done = run(BINARY, "rules", "check", path)
    assert "good" in done.stdout and "line 3: never decides, since line 2" in done.stderr
    def ask(client, disk):
        return run(BINARY, "rules", "check", path, "--as", client, "--disk", disk).stdout
    assert "read,fork  (line 1)" in ask("cert:ci-7", "golden")
    assert "none  (line 2)" in ask("cert:ci-7", "other")
    refused("give both", BINARY, "rules", "check", path, "--as", "cert:x")
    refused("write cert:NAME", BINARY, "rules", "check", path, "--as", "x", "--disk", "y")
