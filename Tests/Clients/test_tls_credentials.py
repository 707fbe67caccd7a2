"""TLS credentials: chains, kinds of keys, names in certificates, and secrets that are taken back."""

import os
import re
import signal
import ssl

import pytest

from support.compare import eventually
from support.tls import Authority, Pki, context, psk_file, uri
from support.tools import refused, run
from support.wire import ACK, STARTTLS

MIB = 1 << 20


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("tls"))


def start(server, *options):
    return server("--tcp", "127.0.0.1:0", "--tls", "required", "--log-level", "debug", *options, create="data=1M")


def size(server, pki, who):
    assert run("nbdinfo", "--size", uri(server, "data", pki, who)).stdout == f"{MIB}\n"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_kinds_of_keys(server, pki, tmp_path, kind):
    directory = pki.authority.issue(tmp_path / "server", "server", "localhost", kind=kind)
    client = pki.authority.issue(tmp_path / "client", "client", "dora", kind=kind)
    started = start(server, "--tls-certificates", directory, "--tls-verify-client")
    size(started, pki, client)
    eventually(lambda: "client=cert:dora" in started.log.read_text(), "the log names the client")


def test_chains_through_an_authority_between(server, tmp_path):
    root = Authority(tmp_path, "root")
    between = Authority(tmp_path, "between", parent=root)
    directories = []
    for role, name in (("server", "localhost"), ("client", "eve")):
        directory = between.issue(tmp_path / role, role, name)
        with open(directory / f"{role}-cert.pem", "ab") as file:
            file.write(between.certificate.read_bytes())
        (directory / "ca-cert.pem").write_bytes(root.certificate.read_bytes())
        directories.append(directory)
    started = start(server, "--tls-certificates", directories[0], "--tls-verify-client")
    size(started, None, directories[1])
    eventually(lambda: "client=cert:eve" in started.log.read_text(), "the log names the client")
    # Without the certificate between, the server cannot tell who has signed.
    whole = (directories[1] / "client-cert.pem").read_text()
    (directories[1] / "client-cert.pem").write_text(whole[:whole.index("-----END") + len("-----END CERTIFICATE-----\n")])
    refused("TLS|certificate|closed|disconnected", "nbdinfo", "--size", uri(started, "data", None, directories[1]))


def test_a_client_that_is_itself_an_authority_signs_no_others(server, pki, tmp_path):
    """Alice's certificate is not one of an authority, so what she signs is not trusted."""
    alice = Authority(tmp_path, "alices")
    alice.key, alice.certificate = pki.alice / "client-key.pem", pki.alice / "client-cert.pem"
    forged = alice.issue(tmp_path / "forged", "client", "root")
    with open(forged / "client-cert.pem", "ab") as file:
        file.write(alice.certificate.read_bytes())
    (forged / "ca-cert.pem").write_bytes(pki.authority.certificate.read_bytes())
    started = start(server, *pki.options, "--tls-verify-client")
    refused("TLS|certificate|closed|disconnected", "nbdinfo", "--size", uri(started, "data", pki, forged))
    assert "cert:root" not in started.log.read_text()


@pytest.mark.parametrize("verify", [[], ["--tls-verify-client"]], ids=["asked", "needed"])
def test_a_bad_certificate_is_refused_even_where_none_is_needed(server, pki, tmp_path, verify):
    """A client that shows a certificate is what it says, or nobody."""
    forged = Authority(tmp_path, "other").issue(tmp_path / "client", "client", "alice")
    (forged / "ca-cert.pem").write_bytes(pki.authority.certificate.read_bytes())
    started = start(server, *pki.options, *verify)
    # OpenSSL shows its certificate even to a server that names other authorities.
    wire = started.wire(transport="tcp")
    with pytest.raises((ssl.SSLError, OSError, EOFError)):
        wire.secure(context(forged)).go("data")
    eventually(lambda: "refused" in started.log.read_text(), "the log says why")
    assert "cert:alice" not in started.log.read_text()


def test_a_certificate_without_a_common_name(server, pki, tmp_path):
    client = pki.authority.issue(tmp_path / "client", "client", None, 'organization = "nameless"')
    started = start(server, *pki.options, "--tls-verify-client")
    refused("TLS|certificate|closed|disconnected", "nbdinfo", "--size", uri(started, "data", pki, client))
    eventually(lambda: "no common name" in started.log.read_text(), "the log says why")


@pytest.mark.parametrize("name", ["Zoë", "a b:c", "*", "../x"])
def test_odd_names_are_names(server, pki, tmp_path, name):
    # Authority.issue names a file after the client, which a slash does not allow.
    client = pki.authority.issue(tmp_path / "client", "client", None, f'cn = "{name}"')
    started = start(server, *pki.options, "--tls-verify-client")
    size(started, pki, client)
    eventually(lambda: f"cert:{name}" in started.log.read_text(), "the log names the client")


def test_a_revoked_certificate(server, pki, tmp_path):
    live = pki.authority.issue(tmp_path / "live", "server", "localhost")
    frank = pki.authority.issue(tmp_path / "frank", "client", "frank")
    started = start(server, "--tls-certificates", live, "--tls-verify-client")
    session_context = context(frank)
    old = started.wire(transport="tcp").secure(session_context).go("data")
    ticket = old.socket.session
    size(started, pki, frank)
    pki.authority.revoke(frank / "client-cert.pem", live / "ca-crl.pem")
    started.process.send_signal(signal.SIGHUP)

    def is_refused():
        return run("nbdinfo", "--size", uri(started, "data", pki, frank), check=False).returncode != 0

    eventually(is_refused, "the revoked certificate is refused")
    eventually(lambda: "revoked" in started.log.read_text(), "the log says why")
    size(started, pki, pki.alice)
    # A resumed session would need no certificate.
    wire = started.wire(transport="tcp")
    assert wire.status(STARTTLS) == ACK
    with pytest.raises((ssl.SSLError, OSError, EOFError)):
        wire.socket = session_context.wrap_socket(wire.socket, session=ticket)
        wire.go("data")
    # The connection that was there goes on.
    old.write(0, b"still here")


def test_keys_come_and_go_with_sighup(server, pki, tmp_path):
    keys = psk_file(tmp_path / "keys.psk", "bob", "carol")
    every = keys.read_text()
    started = start(server, "--tls-psk", keys)

    def reaches(user):
        source = tmp_path / "client.psk"
        source.write_text(every)
        return run("nbdinfo", "--size", f"nbds://{user}@{started.tcp}/data?tls-psk-file={source}", check=False).returncode == 0

    assert reaches("bob") and reaches("carol")
    keys.write_text("".join(line for line in every.splitlines(True) if not line.startswith("bob:")))
    started.process.send_signal(signal.SIGHUP)
    eventually(lambda: not reaches("bob"), "bob's key is taken back")
    assert reaches("carol")
    # A file that others can read is not loaded.
    keys.write_text(every)
    os.chmod(keys, 0o644)
    started.process.send_signal(signal.SIGHUP)
    eventually(lambda: re.search("others can read", started.log.read_text()), "the log says why")
    assert not reaches("bob") and reaches("carol")
    os.chmod(keys, 0o600)
    started.process.send_signal(signal.SIGHUP)
    eventually(lambda: reaches("bob"), "bob's key is there again")


def test_a_server_with_keys_alone_and_one_with_certificates_alone(server, pki):
    """Each refuses the other's clients, and goes on."""
    by_key = start(server, "--tls-psk", pki.keys)
    by_certificate = start(server, "--tls-certificates", pki.server, "--tls-verify-client")
    for one, good, bad in ((by_key, "bob", pki.alice), (by_certificate, pki.alice, "bob")):
        refused("TLS|handshake|closed|disconnected", "nbdinfo", "--size", uri(one, "data", pki, bad))
        size(one, pki, good)
