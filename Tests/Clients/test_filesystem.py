"""File systems. nbdfuse shows a disk as a file, and losetup makes it a block device. The tests
make, fill, trim and check ext4 and XFS on it. They need root, FUSE and a loop device."""

import hashlib
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from support.compare import eventually, noise, same_files
from support.tools import needs, run

MIB = 1 << 20
pytestmark = pytest.mark.deadline(300)


def detach(folder):
    """Undoes mounts, loop devices and nbdfuse, in this order. Also cleans up after a failure."""
    for point in folder.glob("*.mnt"):
        if os.path.ismount(point):
            run("umount", point)
    for file in folder.glob("*.fuse/nbd"):
        for device in run("losetup", "-n", "-O", "NAME", "-j", file).stdout.split():
            run("losetup", "-d", device)
    for point in folder.glob("*.fuse"):
        if os.path.ismount(point):
            run("umount", point)


@pytest.fixture
def loops(tmp_path):
    """Skips the test if this machine cannot do it. Finds out without the server, so that a failure
    of the server never skips a test."""
    needs("nbdfuse", "losetup", "mount")
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/fuse cannot be opened: {error.strerror}")
    probe = tmp_path / "probe"
    probe.write_bytes(bytes(MIB))
    done = run("losetup", "--show", "-f", probe, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    run("losetup", "-d", done.stdout.strip())
    point = tmp_path / "probe.mnt"
    point.mkdir()
    if run("mount", "-t", "tmpfs", "none", point, check=False).returncode:
        pytest.skip("mounts are not allowed")
    run("umount", point)


class Device:
    """A disk of the server as a block device, with the place where its file system is mounted."""

    def __init__(self, server, name, folder):
        self.server, self.name, self.folder = server, name, folder
        self.point, fuse = folder / f"{name}.mnt", folder / f"{name}.fuse"
        self.point.mkdir()
        fuse.mkdir()
        self.log = open(folder / f"{name}.log", "w")
        self.fuse = subprocess.Popen(["nbdfuse", fuse / "nbd", server.uri(name)], stdout=self.log, stderr=self.log)
        eventually((fuse / "nbd").exists, "nbdfuse shows the disk")
        self.path = run("losetup", "--show", "-f", fuse / "nbd").stdout.strip()

    def mount(self, options="defaults"):
        run("mount", "-o", options, self.path, self.point)

    def umount(self):
        run("umount", self.point)


@pytest.fixture
def attach(loops, server, tmp_path):
    """attach(NAME): attaches a disk of 2 GiB as a block device. Its detachment is part of the
    test."""
    devices = []

    def attach(name):
        devices.append(Device(server(create=f"{name}=2G"), name, tmp_path))
        return devices[-1]

    yield attach
    detach(tmp_path)
    for device in devices:
        assert device.fuse.wait(60) == 0, Path(device.log.name).read_text()
        device.log.close()


def sums(folder):
    """The SHA-256 of each plain file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()}


def fill_and_trim(device, options, figure):
    """Does the same work on every file system."""
    device.mount(options)
    shutil.copytree("/etc", device.point / "etc", symlinks=True, ignore_dangling_symlinks=True)
    (device.point / "random").write_bytes(noise(200 * MIB))
    wanted = sums(device.point)
    device.umount()
    device.mount(options)
    assert sums(device.point) == wanted
    full = device.server.data(device.name)
    (device.point / "random").unlink()
    # XFS frees the blocks of a removed file later, but by the unmount at the latest.
    device.umount()
    device.mount(options)
    run("fstrim", "-v", device.point)
    device.umount()
    trimmed = device.server.data(device.name)
    figure(f"{full >> 20} MiB of data with a file of 200 MiB, {trimmed >> 20} MiB after its removal and fstrim")
    assert trimmed <= full - 190 * MIB


def test_a_disk_is_a_block_device(attach):
    device = attach("ext4")
    assert re.fullmatch("/dev/loop[0-9]+", device.path)
    assert run("blockdev", "--getsize64", device.path).stdout == f"{2 << 30}\n"


@pytest.fixture
def ext4(attach):
    needs("mkfs.ext4", "e2fsck")
    device = attach("ext4")
    run("mkfs.ext4", "-q", device.path)
    return device


def test_ext4_keeps_its_files_gives_memory_back_and_is_sound(ext4, figure):
    fill_and_trim(ext4, "defaults", figure)
    run("e2fsck", "-fn", ext4.path)


def test_a_fork_of_ext4_in_use_is_mended_by_its_journal(ext4, tmp_path):
    """A fork has the contents that a loss of power at that moment would leave."""
    needs("debugfs")
    server = ext4.server
    ext4.mount()
    before = ext4.point / "before"
    before.write_bytes(noise(20 * MIB))
    run("sync", "-f", ext4.point)
    stop, failures, writes = threading.Event(), [], [0]

    def write():
        try:
            while not stop.is_set():
                (ext4.point / "during").write_bytes(os.urandom(MIB))
                run("sync", "-f", ext4.point)
                writes[0] += 1
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    eventually(lambda: writes[0] > 0 or failures, "the file system is in use")
    server.run("fork", "ext4", "forked")
    stop.set()
    thread.join()
    assert not failures, failures
    forked = tmp_path / "forked"
    server.run("export", "forked", forked)
    mended = run("e2fsck", "-fp", forked, check=False)
    assert mended.returncode in (0, 1), mended.stdout  # 1: the journal was replayed
    run("e2fsck", "-fn", forked)
    run("debugfs", "-R", f"dump /before {tmp_path}/before", forked)
    same_files(tmp_path / "before", before)
    ext4.umount()


def formatted(attach, kind):
    """A disk with a file system that the kernel may not have."""
    loaded = shutil.which("modprobe") and run("modprobe", "-q", kind, check=False).returncode == 0
    if not loaded and not re.search(rf"\b{kind}$", Path("/proc/filesystems").read_text(), re.MULTILINE):
        pytest.skip(f"this kernel has no {kind}")
    device = attach(kind)
    run(f"mkfs.{kind}", "-q", device.path)
    return device


@pytest.fixture
def xfs(attach):
    needs("mkfs.xfs", "xfs_repair")
    return formatted(attach, "xfs")


def test_xfs_keeps_its_files_gives_memory_back_and_is_sound(xfs, figure):
    fill_and_trim(xfs, "nouuid", figure)
    run("xfs_repair", "-n", xfs.path)


@pytest.fixture
def btrfs(attach):
    needs("mkfs.btrfs", "btrfs")
    return formatted(attach, "btrfs")


def test_btrfs_keeps_its_files_gives_memory_back_and_is_sound(btrfs, figure):
    fill_and_trim(btrfs, "nodiscard", figure)
    run("btrfs", "check", "--readonly", btrfs.path)
