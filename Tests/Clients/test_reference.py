"""The test client of the protocol's reference implementation, built from its repository. Nothing of it is
kept here. NBD_REFERENCE names a checkout; else it is cloned."""

import os
import subprocess
from pathlib import Path

import pytest

from support.tools import needs, run
from test_tls import Pki

SOURCE = "https://github.com/NetworkBlockDevice/nbd.git"
BUILD = Path(__file__).parents[2] / ".build" / "nbd-reference"

# Its own build system makes a header like this one.
CONFIG = """
#define HAVE_GNUTLS 1
#define _GNU_SOURCE 1
#define _FILE_OFFSET_BITS 64
#define PACKAGE_VERSION "test"
#define VERSION "test"
#define SIZEOF_UNSIGNED_SHORT_INT 2
#define SIZEOF_UNSIGNED_INT 4
#define SIZEOF_UNSIGNED_LONG_INT 8
#define SIZEOF_UNSIGNED_LONG_LONG_INT 8
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The directory with its recorded transactions, and the program."""
    needs("git", "gcc", "pkg-config")
    source = Path(os.environ.get("NBD_REFERENCE", BUILD))
    if not source.exists():
        done = subprocess.run(["git", "clone", "-q", "--depth", "1", SOURCE, source], capture_output=True, text=True,
                              timeout=100, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
        if done.returncode:
            pytest.skip(f"{SOURCE} cannot be cloned; NBD_REFERENCE can name a checkout")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "glib-2.0", "gnutls"], capture_output=True, text=True)
    if flags.returncode:
        pytest.skip("no libglib2.0-dev; scripts/deps installs it")
    made = tmp_path_factory.mktemp("reference")
    (made / "config.h").write_text(CONFIG)
    files = ["tests/run/nbd-tester-client.c", "cliserv.c", "buffer.c", "crypto-gnutls.c"]
    run("gcc", "-w", "-O1", f"-I{made}", f"-I{source}", *(source / file for file in files), "-o", made / "tester",
        *flags.stdout.split())
    return source / "tests" / "run", made / "tester"


@pytest.fixture
def tester(reference, server, tmp_path):
    """tester(OPTION...): runs the program on a new disk of 60 MiB. TRACE stands for the directory with its
    transactions, and HOST for the server."""
    made = server("--tcp", "127.0.0.1:0", memory="256M", create="export1=60M")

    def start(*options):
        places = {"HOST": ["127.0.0.1", made.tcp.rsplit(":")[-1]], "SOCKET": ["-u", f"{made.directory}/nbd.sock"]}
        expanded = [part for option in options for part in places.get(option, [option.replace("TRACE", str(reference[0]))])]
        return run(reference[1], "-N", "export1", *expanded, cwd=tmp_path)
    return start


@pytest.mark.parametrize("options", [
    ["HOST"], ["-w", "HOST"], ["-w", "-f", "HOST"], ["SOCKET"], ["-w", "-f", "SOCKET"], ["-o", "HOST"], ["-h", "HOST"],
    ["-i", "-t", "TRACE/integrity-test.tr", "HOST"], ["-i", "-t", "TRACE/integrityhuge-test.tr", "HOST"]],
    ids=["read", "write", "flush", "unix-read", "unix-flush", "oversize", "handshake", "integrity", "integrity-huge"])
def test_it_finds_nothing(tester, options):
    tester(*options)


def test_its_integrity_test_over_tls(reference, server, tmp_path):
    (tmp_path / "pki").mkdir()
    pki = Pki(tmp_path / "pki")
    made = server("--tcp", "127.0.0.1:0", "--tls", "required", "--tls-verify-client", *pki.options, create="export1=60M")
    run(reference[1], "-N", "export1", "-i", "-t", reference[0] / "integrity-test.tr", "-C", pki.alice / "client-cert.pem",
        "-K", pki.alice / "client-key.pem", "-A", pki.alice / "ca-cert.pem", "-H", "localhost", "127.0.0.1",
        made.tcp.rsplit(":")[-1], cwd=tmp_path)
