"""The kernel's own client, with a file system on it: while a server is killed or another takes over, its requests
wait, and none is lost or fails. `make cgroup2` runs this in a kernel that has the driver."""

import subprocess

import pytest

from support.block_device import BlockDevice, free_device
from support.compare import eventually, noise, same_bytes
from support.tools import needs, run

MIB = 1 << 20


class Mounted:
    """An ext4 file system on a block device."""

    def __init__(self, device, directory):
        needs("mke2fs", "e2fsck", "debugfs", "mount")
        self.directory = directory
        directory.mkdir()
        run("mke2fs", "-q", "-t", "ext4", device)
        run("mount", device, directory)

    def begin(self, name, source):
        """Begins to write a file, and syncs it at the end."""
        return subprocess.Popen(
            ["dd", f"if={source}", f"of={self.directory}/{name}", "bs=256k", "conv=fsync"], stderr=subprocess.DEVNULL)

    def end(self):
        run("umount", self.directory)


@pytest.mark.deadline(900)
def test_a_file_system_goes_on(survivor, tmp_path, figure):
    """A server is killed in the middle of writes, then another takes over in the middle of writes."""
    one = survivor(create="disk=96M")
    device = BlockDevice(one, "disk")
    source = tmp_path / "source"
    source.write_bytes(noise(16 * MIB))
    mounted = Mounted(device.path, tmp_path / "mounted")
    try:
        before = mounted.begin("before", source)
        assert before.wait(100) == 0
        killed = mounted.begin("killed", source)
        eventually(lambda: (mounted.directory / "killed").exists(), "the write has begun")
        one.kill()
        one.start()
        device.reconnect()
        assert killed.wait(200) == 0, "no write fails"
        taken = mounted.begin("taken", source)
        eventually(lambda: (mounted.directory / "taken").exists(), "the write has begun")
        one.take_over()
        device.reconnect()
        assert taken.wait(200) == 0
        mounted.end()
    except BaseException:
        subprocess.run(["umount", "--lazy", mounted.directory])
        raise
    finally:
        device.end()
    image = tmp_path / "image"
    image.write_bytes(one.read("disk", 0, 96 * MIB))
    run("e2fsck", "-fn", image)
    for name in ("before", "killed", "taken"):
        same_bytes(run("debugfs", "-R", f"cat /{name}", image, text=False).stdout, source.read_bytes(), name)


def test_nbd_client_is_started_again(survivor):
    """nbd-client 3.24 ends with its connection, also with -persist. Nothing that was acknowledged is lost."""
    needs("nbd-client")
    device = f"/dev/nbd{free_device()}"
    one = survivor(create="disk=64M")
    connect = ["nbd-client", "-unix", f"{one.directory}/nbd.sock", "-N", "disk", device]
    run(*connect)

    def copy(*words):
        return run("dd", "bs=1M", "count=1", *words, text=False).stdout

    try:
        copy("if=/dev/urandom", f"of={device}", "oflag=direct")
        written = one.read("disk", 0, MIB)
        assert written != bytes(MIB)
        one.again()
        run("nbd-client", "-d", device)
        run(*connect)
        same_bytes(copy(f"if={device}", "iflag=direct"), written, "the device")
        copy("if=/dev/urandom", f"of={device}", "seek=8", "oflag=direct")
        assert one.read("disk", 8 * MIB, MIB) != bytes(MIB)
    finally:
        run("nbd-client", "-d", device, check=False)
