"""TLS: by certificates and by pre-shared keys, with real clients; what is refused; and what a client
may not gain or lose by it."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import time

import pytest

from support.compare import eventually, noise, same_bytes, same_files
from support.tls import Authority, Pki, context, psk_file, uri
from support.tools import needs, refused, run
from support.wire import (
    ABORT, ACK, BLOCK_STATUS, EINVAL, EXPORT_NAME, EXTENDED, GO, INFO, INVALID, LIST, LIST_META,
    NEEDS_TLS, POLICY, READ, SET_META, STARTTLS, STRUCTURED_REPLY, text)

MIB = 1 << 20


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def required(server, pki):
    """A server that requires TLS and a known client on TCP."""
    return server("--tcp", "127.0.0.1:0", "--tls", "required", "--tls-verify-client", *pki.options,
                  create=("data=1G", "other=1M"))


@pytest.fixture(params=["certificate", "key"])
def who(request, pki):
    return pki.alice if request.param == "certificate" else "bob"


# Clients


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_nbdinfo(required, pki, who, transport):
    if transport == "unix" and not isinstance(who, str):
        pytest.skip("libnbd verifies a host name, and a Unix socket has none")
    found = run("nbdinfo", uri(required, "data", pki, who, transport)).stdout
    assert "with TLS" in found and f"export-size: {1 << 30}" in found


def test_nbdcopy_in_and_out_over_4_connections(required, pki, who, tmp_path):
    image, out = tmp_path / "in", tmp_path / "out"
    image.write_bytes(noise(64 * MIB))
    run("nbdcopy", "--connections=4", image, uri(required, "data", pki, who))
    run("nbdcopy", "--connections=4", uri(required, "data", pki, who), out)
    same_files(out, image, 64 * MIB)


def test_libnbd_reads_and_writes_of_many_sizes(required, pki, who):
    import nbd
    handle = nbd.NBD()
    handle.add_meta_context("base:allocation")
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri(required, "data", pki, who))
    assert handle.get_tls_negotiated() and handle.get_structured_replies_negotiated()
    at = 0
    for length in (1, 511, 4096, 16 << 10, (16 << 10) + 1, 65537, 256 << 10, MIB + 3, 8 * MIB):
        data = noise(length)
        handle.pwrite(data, at)
        same_bytes(handle.pread(length, at), data, f"{length} bytes at {at}")
        at += length + 12345
    # Many requests at once.
    pages = noise(256 * 4096)
    waiting = [handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pages[n * 4096:(n + 1) * 4096])),
                                 (900 << 20) + n * 4096) for n in range(256)]
    while handle.aio_in_flight():
        handle.poll(-1)
        waiting = [cookie for cookie in waiting if not handle.aio_command_completed(cookie)]
    same_bytes(handle.pread(len(pages), 900 << 20), pages, "256 pages written at once")
    handle.shutdown()


def test_qemu_by_certificate(required, pki):
    for directory, outcome in ((pki.alice, None), (pki.nobody, "fail|error|Cannot")):
        done = run(
            "qemu-io", "--object", f"tls-creds-x509,id=tls0,endpoint=client,dir={directory}",
            "--image-opts", "driver=raw,file.driver=nbd,file.host=127.0.0.1,file.export=data,file.tls-creds=tls0,"
            f"file.port={required.tcp.rsplit(':')[-1]}",
            "-c", "write -P 7 64k 1M", "-c", "read -P 7 64k 1M", check=False)
        assert (done.returncode == 0) == (outcome is None), done.stdout + done.stderr


def test_qemu_by_key(required, pki, tmp_path):
    keys = tmp_path / "client"
    keys.mkdir()
    (keys / "keys.psk").write_bytes(pki.keys.read_bytes())
    done = run(
        "qemu-img", "info", "--object",
        f"tls-creds-psk,id=tls0,endpoint=client,username=carol,dir={keys}", "--image-opts",
        f"driver=nbd,host=127.0.0.1,port={required.tcp.rsplit(':')[-1]},export=data,tls-creds=tls0")
    assert "virtual size: 1 GiB" in done.stdout


def test_nbdkit_as_a_proxy(required, pki, tmp_path):
    needs("nbdkit")
    image = tmp_path / "in"
    image.write_bytes(noise(4 * MIB))
    run("nbdkit", "-U", "-", "nbd", "hostname=127.0.0.1", f"port={required.tcp.rsplit(':')[-1]}", "export=data",
        "tls=require", f"tls-certificates={pki.alice}", "--run", f"nbdcopy {image} $uri")
    required_bytes = required.wire(transport="tcp").secure(context(pki.alice)).go("data").read(0, 4 * MIB)
    same_bytes(required_bytes, image.read_bytes(), "what nbdkit wrote")


# What is refused


def test_without_tls_nothing_but_starttls_and_abort(required):
    wire = required.wire(transport="tcp")
    for code in (LIST, STRUCTURED_REPLY, EXTENDED, 999):
        assert wire.status(code) == NEEDS_TLS
    for code in (INFO, GO):
        assert wire.status(code, text("data") + b"\0\0") == NEEDS_TLS
    for code in (LIST_META, SET_META):
        assert wire.status(code, text("data") + struct.pack(">I", 0)) == NEEDS_TLS
    assert wire.status(STARTTLS, b"x") == INVALID
    assert wire.status(ABORT) == ACK
    wire = required.wire(transport="tcp")
    wire.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 4) + b"data")
    assert wire.is_closed()


@pytest.mark.parametrize("name", ["no-certificate", "other-authority", "expired", "servers-certificate"])
def test_a_client_that_is_not_known(required, pki, name, tmp_path):
    directory = pki.nobody
    if name == "other-authority":
        directory = Authority(tmp_path, "other").issue(tmp_path / "client", "client", "alice")
        (directory / "ca-cert.pem").write_bytes(pki.authority.certificate.read_bytes())
    elif name == "expired":
        directory = pki.authority.issue(
            tmp_path / "client", "client", "late", 'activation_date = "2020-01-01 00:00:00"',
            'expiration_date = "2021-01-01 00:00:00"')
    elif name == "servers-certificate":
        directory = tmp_path / "client"
        directory.mkdir()
        (directory / "ca-cert.pem").write_bytes(pki.authority.certificate.read_bytes())
        for part in ("cert", "key"):
            (directory / f"client-{part}.pem").write_bytes((pki.server / f"server-{part}.pem").read_bytes())
    refused("TLS|certificate|handshake|closed", "nbdinfo", "--size", uri(required, "data", pki, directory))
    # The server goes on.
    assert run("nbdinfo", "--size", uri(required, "data", pki, pki.alice)).stdout == f"{1 << 30}\n"


@pytest.mark.parametrize("user", ["bob", "mallory"])
def test_a_wrong_key_and_an_unknown_user_fail_in_the_same_way(required, pki, user, tmp_path):
    wrong = psk_file(tmp_path / "wrong.psk", user)
    said = refused("TLS|handshake", "nbdinfo", "--size",
                   f"nbds://{user}@{required.tcp}/data?tls-psk-file={wrong}")
    assert "gone" not in said


def test_a_server_without_tls_refuses_starttls(server):
    wire = server(create="data=1M").wire()
    assert wire.status(STARTTLS) == POLICY
    assert wire.status(STRUCTURED_REPLY) == ACK
    wire.go("data")


def test_a_client_that_does_not_trust_the_server_leaves(required, pki, tmp_path):
    other = Authority(tmp_path, "other").issue(tmp_path / "client", "client", "alice")
    refused("certificate|TLS", "nbdinfo", "--size", uri(required, "data", pki, other))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_of_tls_are_refused(required, pki):
    old = context(pki.alice)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, OSError)):
        required.wire(transport="tcp").secure(old)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_of_tls(required, pki, version):
    one = context(pki.alice)
    one.minimum_version = one.maximum_version = ssl.TLSVersion[version]
    wire = required.wire(transport="tcp").secure(one)
    assert wire.socket.version() == version.replace("_", ".")
    wire.go("data").write(4096, b"x" * 5000)
    assert wire.read(4096, 5000) == b"x" * 5000


# Traps


@pytest.fixture
def allowed(server, pki):
    return server("--tcp", "127.0.0.1:0", *pki.options, create=("data=1G", "other=1M"))


def test_where_it_is_allowed_a_client_may_go_without(allowed, pki):
    assert run("nbdinfo", "--size", allowed.uri("data", "tcp")).stdout == f"{1 << 30}\n"
    assert run("nbdinfo", "--size", uri(allowed, "data", pki, pki.nobody)).stdout == f"{1 << 30}\n"


def test_what_was_negotiated_before_tls_is_forgotten(allowed, pki):
    wire = allowed.wire(transport="tcp")
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(SET_META, "data", "base:allocation")[0] == ACK
    wire.secure(context(pki.alice))
    assert wire.meta(SET_META, "data", "base:allocation")[0] == INVALID
    wire.go("data", structured=False)
    assert wire.error(BLOCK_STATUS, 0, 4096) == EINVAL
    assert wire.ask(READ, 0, 512).simple


def test_tls_within_tls_is_invalid(allowed, pki):
    wire = allowed.wire(transport="tcp").secure(context(pki.alice))
    assert wire.status(STARTTLS) == INVALID
    wire.go("data")


def test_what_is_sent_behind_starttls_without_tls_is_not_taken(allowed):
    """Somebody between client and server could put an option there, for the server to take as the
    client's."""
    wire = allowed.wire(transport="tcp")
    wire.send(b"IHAVEOPT" + struct.pack(">II", STARTTLS, 0)
              + b"IHAVEOPT" + struct.pack(">II", STRUCTURED_REPLY, 0))
    assert wire.is_closed()


@pytest.mark.parametrize("garbage", [b"\0" * 5, b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000],
    ids=["zeros", "http", "long-record"])
def test_garbage_instead_of_a_tls_handshake_ends_the_connection(allowed, garbage):
    wire = allowed.wire(transport="tcp")
    assert wire.status(STARTTLS) == ACK
    wire.send(garbage)
    wire.socket.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionResetError):
        while wire.socket.recv(4096):  # An alert may come first.
            pass
    allowed.wire(transport="tcp").go("data")


def test_a_slow_tls_handshake_counts_for_the_deadline(server, pki):
    server = server("--tcp", "127.0.0.1:0", "--negotiation-timeout", "1", *pki.options, create="data=1M")
    wire = server.wire(transport="tcp")
    assert wire.status(STARTTLS) == ACK
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    try:
        for byte in hello * 100:  # Each byte comes within a second.
            wire.send(bytes([byte]))
            time.sleep(0.1)
        raise AssertionError("the server waits for ever")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert "handshake in time" in server.log.read_text()


def test_clients_that_vanish_without_close_notify(allowed, pki):
    for end in ("close", "reset", "middle"):
        wire = allowed.wire(transport="tcp").secure(context(pki.alice)).go("data")
        wire.write(0, b"acknowledged" * 1000)
        if end == "middle":
            wire.send(struct.pack(">IHHQQI", 0x25609513, 0, 1, 7, MIB, MIB) + b"part" * 1000)
        plain = wire.socket.detach()
        bare = socket.socket(fileno=plain)
        if end == "reset":
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        bare.close()
    eventually(lambda: allowed.disk("data")["connections"] == 0, "nobody is connected")
    same_bytes(allowed.go("data").read(0, 12000), b"acknowledged" * 1000, "what was acknowledged")


def test_idle_clients_and_clients_that_do_not_read_do_not_stop_the_server(allowed, pki):
    wires = [allowed.wire(transport="tcp").secure(context(pki.alice)).go("data") for _ in range(4)]
    wires[0].write(0, noise(32 * MIB))
    for wire in wires[1:]:
        for _ in range(16):
            wire.request(READ, 0, 4 * MIB)
    time.sleep(0.5)
    allowed.stops_cleanly()


def test_an_idle_client_goes_on_afterwards(allowed, pki):
    wire = allowed.wire(transport="tcp").secure(context(pki.alice)).go("data")
    wire.write(0, b"before" * 10000)
    # The server gives an idle connection's buffers back after a second.
    time.sleep(2.5)
    same_bytes(wire.read(0, 60000), b"before" * 10000, "what was written before the pause")
    wire.write(MIB, noise(3 * MIB))


# Credentials


def test_sighup_loads_new_credentials_for_new_clients(server, pki, tmp_path):
    directory = pki.authority.issue(tmp_path / "live", "server", "localhost")
    server = server("--tcp", "127.0.0.1:0", "--tls", "required", "--tls-certificates", directory, create="data=1M")

    def serial():
        wire = server.wire(transport="tcp").secure(context(pki.alice))
        return wire.socket.getpeercert()["serialNumber"], wire

    old, wire = serial()
    wire.go("data").write(0, b"x" * 4096)
    certificate, key = directory / "server-cert.pem", directory / "server-key.pem"
    good = certificate.read_bytes()
    certificate.write_bytes(good[: len(good) // 2])
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "stay as they were" in server.log.read_text(), "the log tells of the broken file")
    assert str(certificate) in server.log.read_text()
    assert serial()[0] == old
    key.unlink()
    pki.authority.issue(directory, "server", "localhost")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: serial()[0] != old, "the new certificate is used")
    assert wire.read(0, 4096) == b"x" * 4096, "the old connection goes on"


def spoil(pki, directory, how):
    """Options with credentials that cannot be used, and what the message must name."""
    for file in ("server-cert.pem", "server-key.pem", "ca-cert.pem"):
        (directory / file).write_bytes((pki.server / file).read_bytes())
    key, certificate, psk = directory / "server-key.pem", directory / "server-cert.pem", directory / "keys"
    os.chmod(key, 0o600)
    psk.write_bytes(pki.keys.read_bytes())
    os.chmod(psk, 0o600)
    options = ["--tls-certificates", directory]
    if how == "no directory":
        return ["--tls-certificates", directory / "nosuch"], "nosuch/server-cert.pem: No such file"
    if how == "no key":
        key.unlink()
        return options, "server-key.pem: No such file"
    if how == "key that others can read":
        os.chmod(key, 0o644)
        return options, "server-key.pem: others can read"
    if how == "key of another certificate":
        pki.authority.make_key(key)
        return options, "server-cert.pem with .*server-key.pem: .*(match|pair)"
    if how == "no authority":
        (directory / "ca-cert.pem").unlink()
        return [*options, "--tls-verify-client"], "ca-cert.pem: No such file"
    if how == "empty authority":
        (directory / "ca-cert.pem").write_text("")
        return options, "ca-cert.pem: "
    if how == "psk: no file":
        return ["--tls-psk", directory / "nosuch"], "nosuch: No such file"
    if how == "psk: fifo":
        os.mkfifo(directory / "fifo", 0o600)
        return ["--tls-psk", directory / "fifo"], "fifo: is no regular file"
    psk.write_text({"psk: no colon": "bob\n", "psk: odd digits": "bob:abc\n", "psk: short key": "bob:00ff\n",
                    "psk: empty": "# nothing\n", "psk: twice": f"bob:{'00' * 32}\nbob:{'11' * 32}\n",
                    "psk: not hexadecimal": f"bob:{'zz' * 32}\n"}[how])
    return ["--tls-psk", psk], {"psk: empty": "has no key", "psk: twice": ":2: user bob is there twice"}.get(how, "keys:1: ")


@pytest.mark.parametrize("how", [
    "no directory", "no key", "key that others can read", "key of another certificate", "no authority",
    "empty authority", "psk: no file", "psk: fifo", "psk: no colon", "psk: odd digits", "psk: short key",
    "psk: empty", "psk: twice", "psk: not hexadecimal"])
def test_credentials_that_cannot_be_used(pki, tmp_path, how):
    from support.server import BINARY
    options, wanted = spoil(pki, tmp_path, how)
    refused(wanted, BINARY, "serve", "--directory", tmp_path / "run", *options, timeout=20)


@pytest.mark.parametrize("options, wanted", [
    (["--tls", "required"], "--tls required: needs --tls-certificates"),
    (["--tls", "sometimes"], "use off, allowed or required"),
    (["--tls-verify-client"], "needs --tls-certificates"),
    (["--tcp", "0.0.0.0:0"], "use TLS, or add --insecure")])
def test_options_that_do_not_fit(tmp_path, options, wanted):
    from support.server import BINARY
    refused(wanted, BINARY, "serve", "--directory", tmp_path / "run", *options, timeout=20)


def test_other_machines_need_tls_by_default(server, pki):
    server = server("--tcp", "0.0.0.0:0", *pki.options, create="data=1M")
    port = server.tcp.rsplit(":")[-1]
    assert f"nbds://0.0.0.0:{port}/NAME" in server.said()
    refused("TLS", "nbdinfo", "--size", f"nbd://127.0.0.1:{port}/data")
    assert run("nbdinfo", "--size", f"nbds://127.0.0.1:{port}/data?tls-certificates={pki.alice}").stdout == f"{MIB}\n"
    # The Unix socket is protected by its permissions.
    assert run("nbdinfo", "--size", server.uri("data")).stdout == f"{MIB}\n"
