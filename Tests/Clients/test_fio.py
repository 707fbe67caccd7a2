"""fio's nbd engine, with verification of every block. The header of a block says where it belongs,
so the tests find misplaced blocks as well as torn ones."""

import json

import pytest

from support.tools import refused, run


class Fio:
    def __init__(self, server, folder):
        self.server, self.folder, self.report = server, folder, folder / "fio.json"

    def run(self, *options):
        run("fio", "--ioengine=nbd", f"--uri={self.server.uri('data')}", "--randrepeat=0", "--verify=crc32c",
            "--verify_fatal=1", f"--output={self.report}", "--output-format=json", *options, cwd=self.folder)

    def verified(self, wanted, jobs=1):
        """Checks by fio's own count that at least so many blocks were verified, and that none
        failed."""
        found = json.loads(self.report.read_text())["jobs"]
        assert [job["error"] for job in found] == [0] * jobs
        assert sum(job["read"]["total_ios"] for job in found) >= wanted


@pytest.fixture
def fio(server, tmp_path):
    if "nbd" not in run("fio", "--enghelp").stdout.split():
        pytest.skip("this fio has no nbd engine")
    return Fio(server(create="data=256M"), tmp_path)


def test_random_4_kib_writes_at_depth_64(fio):
    fio.run("--name=a", "--rw=randwrite", "--bs=4k", "--size=64M", "--iodepth=64")
    fio.verified(16384)


def test_sizes_from_512_bytes_to_256_kib(fio):
    fio.run("--name=b", "--rw=randwrite", "--bsrange=512-256k", "--bs_unaligned=0", "--size=64M",
            "--offset=64M", "--iodepth=16", "--verify_interval=512")
    fio.verified(100)


def test_two_jobs_on_two_halves(fio):
    fio.run("--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=48M",
            "--name=first", "--offset=128M", "--name=second", "--offset=176M")
    fio.verified(24576, jobs=2)


def test_trims(fio):
    """The second half of 32 MiB is trimmed. It must be zeros, and the first half as it was."""
    fio.run("--name=t", "--rw=write", "--bs=16k", "--size=32M", "--offset=224M", "--do_verify=0")
    run("fio", "--ioengine=nbd", f"--uri={fio.server.uri('data')}", "--name=u", "--rw=randtrim", "--bs=16k",
        "--iodepth=8", "--size=16M", "--offset=240M", cwd=fio.folder)
    fio.run("--name=t", "--rw=read", "--bs=16k", "--size=16M", "--offset=224M", "--iodepth=8")
    fio.verified(1024)
    fio.server.io("data", "read -P 0 240M 16M")


def test_reads_writes_and_flushes(fio):
    """A flush follows each fifth write, and half of the operations are reads."""
    fio.run("--name=m", "--rw=randrw", "--bs=8k", "--size=32M", "--iodepth=32", "--fsync=5")
    fio.verified(2048)


def test_a_damaged_block_is_found(fio):
    """This tests the test: fio must see what another client changed. Its blocks are random, so one
    byte could have that value already."""
    fio.run("--name=d", "--rw=write", "--bs=4k", "--size=1M", "--do_verify=0")
    fio.server.io("data", "write -P 255 70000 64")
    refused("verify", "fio", "--ioengine=nbd", f"--uri={fio.server.uri('data')}", "--name=d", "--rw=read",
            "--bs=4k", "--size=1M", "--verify=crc32c", "--verify_fatal=1", f"--aux-path={fio.folder}",
            cwd=fio.folder)
