"""Certificates and keys for TLS, made by GnuTLS's own tools."""

import os
import socket
import ssl

from support.tools import needs, run
from support.wire import ACK, STARTTLS


class Authority:
    """A certificate authority in a directory. It signs certificates of servers and clients. Another
    authority, its parent, may have signed its own."""

    def __init__(self, directory, name, parent=None):
        needs("certtool", "psktool")
        self.directory = directory / name
        self.directory.mkdir()
        self.key, self.certificate = self.directory / "ca-key.pem", self.directory / "ca-cert.pem"
        self.make_key(self.key)
        self.template("ca", f'cn = "{name}"\nca\ncert_signing_key\nexpiration_days = 10')
        signer = ["--generate-self-signed"] if parent is None else [
            "--generate-certificate", "--load-ca-certificate", parent.certificate, "--load-ca-privkey", parent.key]
        run("certtool", *signer, "--load-privkey", self.key, "--template", self.directory / "ca.info",
            "--outfile", self.certificate)

    def make_key(self, path, kind="ecdsa"):
        run("certtool", "--generate-privkey", f"--key-type={kind}", "--outfile", path)
        os.chmod(path, 0o600)

    def template(self, name, text):
        (self.directory / f"{name}.info").write_text(text + "\n")

    def issue(self, directory, role, name, *lines, kind="ecdsa"):
        """Puts `role`-cert.pem and `role`-key.pem into a directory, with this authority's own
        certificate. `role` is server or client."""
        directory.mkdir(exist_ok=True)
        key = directory / f"{role}-key.pem"
        self.make_key(key, kind)
        usage = {"server": "tls_www_server\nip_address = 127.0.0.1\nip_address = ::1\ndns_name = localhost",
                 "client": "tls_www_client"}[role]
        lifetime = [] if any("expiration" in line for line in lines) else ["expiration_days = 10"]
        common = [] if name is None else [f'cn = "{name}"']
        self.template(name, "\n".join([*common, "signing_key", usage, *lifetime, *lines]))
        run("certtool", "--generate-certificate", "--load-privkey", key, "--load-ca-certificate",
            self.certificate, "--load-ca-privkey", self.key, "--template",
            self.directory / f"{name}.info", "--outfile", directory / f"{role}-cert.pem")
        (directory / "ca-cert.pem").write_bytes(self.certificate.read_bytes())
        return directory

    def revoke(self, certificate, path):
        """Writes a list of revoked certificates with this one."""
        self.template("crl", "crl_next_update = 10\ncrl_number = 1")
        run("certtool", "--generate-crl", "--load-ca-privkey", self.key, "--load-ca-certificate", self.certificate,
            "--load-certificate", certificate, "--template", self.directory / "crl.info", "--outfile", path)


def context(directory, client=True):
    """A context of Python's ssl module. It trusts the authority in a directory, and has the
    client's certificate there."""
    made = ssl.create_default_context(cafile=directory / "ca-cert.pem")
    made.check_hostname = False
    if client:
        made.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem")
    return made


def psk_file(path, *users):
    """Makes a file of pre-shared keys, as psktool does."""
    needs("psktool")
    for user in users:
        run("psktool", "-u", user, "-p", path)
    os.chmod(path, 0o600)
    return path


class Pki:
    """The files of a server and of its clients."""

    def __init__(self, directory):
        self.authority = Authority(directory, "authority")
        self.server = self.authority.issue(directory / "server", "server", "localhost")
        self.alice = self.authority.issue(directory / "alice", "client", "alice")
        self.nobody = directory / "nobody"
        self.nobody.mkdir()
        (self.nobody / "ca-cert.pem").write_bytes(self.authority.certificate.read_bytes())
        self.keys = psk_file(directory / "keys.psk", "bob", "carol")
        self.options = ["--tls-certificates", self.server, "--tls-psk", self.keys]


def uri(server, disk, pki, who, transport="tcp"):
    """The URI of a disk with the credentials of a client: a user of a key, or a certificate's
    directory."""
    user, parameter = (f"{who}@", f"tls-psk-file={pki.keys}") if isinstance(who, str) else (
        "", f"tls-certificates={who}")
    if transport == "tcp":
        return f"nbds://{user}{server.tcp}/{disk}?{parameter}"
    return f"nbds+unix://{user}/{disk}?socket={server.directory}/nbd.sock&{parameter}"


class ByHand:
    """TLS of a client over a raw connection, whose encrypted bytes the test sends itself: in pieces,
    changed, or only in part. It stands in for the socket of a Wire."""

    def __init__(self, wire, context, piece=1 << 20, record=16 << 10):
        """Sends at most `piece` bytes at a time, and puts at most `record` bytes into one record."""
        self.socket, self.piece, self.record = wire.socket, piece, record
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    def put(self, data):
        for at in range(0, len(data), self.piece):
            self.socket.sendall(data[at:at + self.piece])

    def feed(self):
        received = self.socket.recv(1 << 16)
        self.incoming.write(received) if received else self.incoming.write_eof()

    def flights(self):
        """Performs the handshake. Yields the bytes of each of the client's parts; the caller sends
        them."""
        while True:
            try:
                self.tls.do_handshake()
                yield self.outgoing.read()
                return
            except ssl.SSLWantReadError:
                yield self.outgoing.read()
                self.feed()

    def handshake(self):
        for flight in self.flights():
            self.put(flight)
        return self

    def encrypt(self, data):
        for at in range(0, len(data), self.record):
            self.tls.write(data[at:at + self.record])
        return self.outgoing.read()

    # What a Wire asks of its socket

    def sendall(self, data):
        self.put(self.encrypt(data))

    def recv(self, count):
        while True:
            try:
                return self.tls.read(count)
            except ssl.SSLWantReadError:
                self.feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def close(self):
        self.socket.close()


def begun(server):
    """A raw connection whose client has asked for TLS."""
    wire = server.wire(transport="tcp")
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert wire.status(STARTTLS) == ACK
    return wire


def by_hand(server, pki, disk="data", **more):
    """A client in transmission over TLS, and its records."""
    wire = begun(server)
    wire.socket = hand = ByHand(wire, context(pki.alice), **more).handshake()
    return wire.go(disk), hand
