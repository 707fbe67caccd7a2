"""Extended headers with a libnbd that speaks them. `scripts/newer-libnbd` builds it; LIBNBD names
another build directory. Without one, these tests are skipped."""

import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / ".build"
LIBNBD = Path(os.environ.get("LIBNBD", BUILD / "libnbd"))

PROLOGUE = """
import sys, nbd
h = nbd.NBD()
def needs(name):
    if not hasattr(h, name):
        sys.stderr.write(f"libnbd {h.get_version()} has no {name}")
        sys.exit(77)
needs("get_extended_headers_negotiated")
h.add_meta_context("base:allocation")
h.add_meta_context("x-hugemem:frames")
h.set_export_name("data")
h.connect_unix(sys.argv[1])
assert h.get_extended_headers_negotiated(), h.get_protocol()
def status(length, names=None, flags=0):
    found = {}
    def extents(name, offset, entries, error):
        found[name] = list(entries)
    if names is None:
        h.block_status_64(length, 0, extents, flags)
    else:
        h.block_status_filter(length, 0, names, extents, flags)
    return found
"""


@pytest.fixture
def run(server):
    """run(SCRIPT): runs Python with the newer libnbd, connected to a disk of 1 TiB."""
    if not (LIBNBD / "run").exists():
        reason = BUILD / "libnbd.skipped"
        pytest.skip(reason.read_text().strip() if reason.exists() else "scripts/newer-libnbd was not run")
    disks = server(create="data=1T")

    def run(script):
        done = subprocess.run(
            [LIBNBD / "run", "/usr/bin/python3", "-c", PROLOGUE + script, f"{disks.directory}/nbd.sock"],
            capture_output=True, text=True, timeout=60)
        if done.returncode == 77:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_zeroes_and_trims_of_a_whole_disk(run):
    run("""
h.pwrite(b"x" * 4096, 1 << 39)
assert h.pread(4096, 1 << 39) == b"x" * 4096
h.zero(1 << 40, 0)
assert h.pread(4096, 1 << 39) == bytes(4096)
h.pwrite(b"x" * 4096, 1 << 39)
h.trim(1 << 40, 0)
assert h.pread(4096, 1 << 39) == bytes(4096)
""")


def test_extents_longer_than_32_bits_in_every_context(run):
    run("""
h.pwrite(b"x" * 4096, 1 << 39)
rest = (1 << 40) - (1 << 39) - 4096
assert status(1 << 40) == {
    "base:allocation": [(1 << 39, 3), (4096, 0), (rest, 3)],
    "x-hugemem:frames": [(1 << 39, 0), (4096, 2), (rest, 0)]}, status(1 << 40)
one = status(1 << 40, flags=nbd.CMD_FLAG_REQ_ONE)
assert one["base:allocation"] == [(1 << 39, 3)], one
""")


def test_a_filter_chooses_contexts(run):
    run("""
needs("block_status_filter")
assert h.can_block_status_payload()
assert list(status(1 << 40, ["x-hugemem:frames"])) == ["x-hugemem:frames"]
both = ["x-hugemem:frames", "base:allocation"]
assert sorted(status(1 << 40, both)) == sorted(both)
""")
