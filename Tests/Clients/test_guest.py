"""A virtual machine that boots from a fork of a disk. QEMU is its NBD client, and Debian's kernel its
user: the root file system is ext4 on the disk."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.tools import needs, run

KERNEL = Path(__file__).parents[2] / "Kernel"
CACHE = Path(os.environ.get("CACHE", Path(__file__).parents[2] / ".build" / "kernel"))
MODULES = """drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev
    drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci drivers/block/virtio_blk lib/crc16
    arch/x86/crypto/crc32c-intel crypto/crc32c_generic lib/libcrc32c fs/mbcache fs/jbd2/jbd2 fs/ext4/ext4""".split()

pytestmark = pytest.mark.deadline(400)

FIRST = """#!/bin/sh
/bin/busybox mount -t devtmpfs none /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t ext4 /dev/vda /root && exec /bin/busybox switch_root /root /init
echo "guest: the root file system cannot be mounted"
/bin/busybox poweroff -f
"""
INIT = """#!/bin/sh
/bin/busybox mount -t proc none /proc
echo "guest: root is $(/bin/busybox sed -n 's|^/dev/root ||p; s|^\\(/dev/vda\\) / |\\1 |p' /proc/mounts | /bin/busybox head -1)"
/bin/busybox sha256sum /data | /bin/busybox cut -c 1-64
echo "written by the guest, boot $(/bin/busybox cat /count 2>/dev/null)" > /marker
echo x >> /count
/bin/busybox dd if=/data of=/copy bs=64k 2>/dev/null
/bin/busybox sync
/bin/busybox mount -o remount,ro /
echo "guest: end"
/bin/busybox poweroff -f
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The release of a kernel, and an initramfs that mounts a disk as the root."""
    needs("cpio", "mke2fs", "debugfs", "dpkg-deb")
    CACHE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([KERNEL / "fetch", CACHE], capture_output=True, text=True, timeout=390)
    if done.returncode:
        pytest.skip(f"no kernel: {done.stderr.strip().splitlines()[-1]}")
    release = [line for line in done.stdout.split() if "cloud" not in line][-1]
    tree = tmp_path_factory.mktemp("guest")
    for name in ("bin", "dev", "root", "modules"):
        (tree / name).mkdir()
    (tree / "bin" / "busybox").write_bytes((CACHE / "root/bin/busybox").read_bytes())
    (tree / "bin" / "busybox").chmod(0o755)
    (tree / "bin" / "sh").symlink_to("busybox")
    (tree / "init").write_text(FIRST)
    (tree / "init").chmod(0o755)
    (package,) = (CACHE / "debs").glob(f"linux-image-{release}_*.deb")
    members = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, stdout=subprocess.PIPE).stdout
    names = [f"./lib/modules/{release}/kernel/{module}.ko" for module in MODULES]
    # A part that is built into the kernel has no file.
    subprocess.run(["tar", "-x", "-C", tree / "modules", "--transform", "s|.*/||", *names], input=members,
                   stderr=subprocess.DEVNULL, check=False)
    there = {path.stem for path in (tree / "modules").iterdir()}
    (tree / "modules" / "order").write_text("\n".join(name for m in MODULES if (name := m.split("/")[-1]) in there))
    archive = tree.with_suffix(".cpio")
    with open(archive, "wb") as out:
        files = subprocess.run(["find", "."], cwd=tree, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=files, stdout=out, check=True)
    return release, archive


@pytest.fixture
def golden(server, tmp_path):
    """A server with a bootable disk that nobody can spoil, and the sum of a file in it."""
    root = tmp_path / "root"
    for name in ("bin", "dev", "proc"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes((CACHE / "root/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    (root / "data").write_bytes(os.urandom(4 << 20))
    image = tmp_path / "image"
    run("mke2fs", "-q", "-t", "ext4", "-d", root, image, "48M")
    made = server(memory="256M")
    made.run("import", "golden", image, "--read-only")
    return made, run("sha256sum", root / "data").stdout[:64]


def boot(kernel, server, disk):
    release, archive = kernel
    done = subprocess.run(
        [KERNEL / "boot", CACHE, release, archive, "", "-m", "512", "-accel", "tcg",
         "-drive", f"file={server.uri(disk)},format=raw,if=virtio"], capture_output=True, text=True, timeout=300)
    return done.stdout


def marker(server, disk, tmp_path):
    server.run("export", disk, tmp_path / disk)
    run("e2fsck", "-fn", tmp_path / disk)
    return run("debugfs", "-R", "cat /marker", tmp_path / disk).stdout


def test_a_guest_boots_from_a_fork_and_keeps_what_it_writes(kernel, golden, tmp_path, figure):
    server, digest = golden
    said = boot(kernel, server, "golden@vm")
    assert "guest: end" in said and digest in said, said[-3000:]
    assert marker(server, "vm", tmp_path) == "written by the guest, boot \n"
    assert server.disk("golden")["isReadOnly"] and server.disk("golden")["bytesWritten"] == 0
    said = boot(kernel, server, "vm")
    assert digest in said and marker(server, "vm", tmp_path) == "written by the guest, boot x\n"
    server.run("reset", "vm")
    assert "not found" in marker(server, "vm", tmp_path) or marker(server, "vm", tmp_path) == ""
    figure(f"a guest on a fork of a golden disk: {server.disk('vm')['bytesRead'] >> 10} KiB read in two boots")
