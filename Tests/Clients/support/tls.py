"""Certificates and keys for TLS, made by GnuTLS's own tools."""

import os
import ssl

from support.tools import needs, run


class Authority:
    """A certificate authority in a directory. It signs certificates of servers and clients."""

    def __init__(self, directory, name):
        needs("certtool", "psktool")
        self.directory = directory / name
        self.directory.mkdir()
        self.key, self.certificate = self.directory / "ca-key.pem", self.directory / "ca-cert.pem"
        self.make_key(self.key)
        self.template("ca", f'cn = "{name}"\nca\ncert_signing_key\nexpiration_days = 10')
        run("certtool", "--generate-self-signed", "--load-privkey", self.key, "--template",
            self.directory / "ca.info", "--outfile", self.certificate)

    def make_key(self, path):
        run("certtool", "--generate-privkey", "--key-type=ecdsa", "--outfile", path)
        os.chmod(path, 0o600)

    def template(self, name, text):
        (self.directory / f"{name}.info").write_text(text + "\n")

    def issue(self, directory, role, name, *lines):
        """Puts `role`-cert.pem and `role`-key.pem into a directory, with this authority's own
        certificate. `role` is server or client."""
        directory.mkdir(exist_ok=True)
        key = directory / f"{role}-key.pem"
        self.make_key(key)
        usage = {"server": "tls_www_server\nip_address = 127.0.0.1\nip_address = ::1\ndns_name = localhost",
                 "client": "tls_www_client"}[role]
        lifetime = [] if any("expiration" in line for line in lines) else ["expiration_days = 10"]
        self.template(name, "\n".join([f'cn = "{name}"', "signing_key", usage, *lifetime, *lines]))
        run("certtool", "--generate-certificate", "--load-privkey", key, "--load-ca-certificate",
            self.certificate, "--load-ca-privkey", self.key, "--template",
            self.directory / f"{name}.info", "--outfile", directory / f"{role}-cert.pem")
        (directory / "ca-cert.pem").write_bytes(self.certificate.read_bytes())
        return directory


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
