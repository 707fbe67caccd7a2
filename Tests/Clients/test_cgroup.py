"""A server without --memory in a control group of 256 MiB gets writes of 600 MiB. It takes its
limit from the group, fills nearly all of it with data, and answers ENOSPC instead of being
killed."""

import os
import pathlib

import pytest

from support.blocks import MIB, Blocks
from support.compare import eventually, falls_to, same_bytes

# On an emulated machine a request takes milliseconds, and a MiB tens of them.
EMULATED = bool(os.environ.get("EMULATED"))
GROUP, SMALL = (192, 64 << 10) if EMULATED else (256, 4 << 10)
# MORE is more than twice what the group may have. GOLDEN is what golden has before writes to forks.
MORE, GOLDEN = GROUP * 600 // 256, GROUP * 60 // 256

pytestmark = pytest.mark.deadline(900 if EMULATED else 240)


class Contained:
    """A server in a group of its own."""

    def __init__(self, group, server, figure):
        self.group, self.figure = group(GROUP * MIB), figure
        self.server = server(create=("a=10G", "b=10G", "c=10G", "golden=1G"), launcher=self.group.launcher())

    def fits(self, mib, what):
        """The goal is 85 % of the group, so that little of the group's memory is wasted."""
        self.figure(f"{mib:.1f} MiB of data {what}, {100 * mib / GROUP:.1f} % of the group")
        assert mib >= 0.85 * GROUP

    def nobody_killed(self):
        self.group.nobody_killed(self.server)
        self.figure(f"of the group {self.group.used() >> 20} MiB are used, the server's limit is "
                    f"{self.server.stat()['memoryLimit'] >> 20} MiB")


@pytest.fixture
def contained(group, server, figure):
    return Contained(group, server, figure)


def test_the_limit_comes_from_the_group(contained, figure):
    limit = contained.server.stat()["memoryLimit"]
    figure(f"a group of {GROUP} MiB: a limit of {limit >> 20} MiB")
    assert limit <= GROUP * MIB


@pytest.mark.parametrize("length", [MIB, SMALL], ids=lambda length: f"{length >> 10}k")
def test_of_more_than_twice_the_group_what_fits_is_there_and_a_trim_makes_room(contained, length):
    disk = Blocks(contained.server, "a", length)
    assert disk.fill(MORE), f"{MORE} MiB fit into {GROUP}"
    contained.fits(disk.mib, f"in writes of {length} bytes")
    disk.check()
    # A trim of half of the data makes room for as much again. It trims halves of 2 MiB, so a huge
    # frame is freed with its second half.
    half, each = int(disk.mib) // 2, MIB // length
    for at in range(half):
        disk.trim(at * each, each)
    kept = disk.mib
    disk.fill(half, first=(1 << 30) // length)
    again = disk.mib - kept
    assert again >= 0.95 * half, f"{again:.1f} MiB fit where {half} MiB were trimmed"
    disk.check()
    contained.nobody_killed()
    # No memory is used after all is trimmed.
    for at in range(0, disk.wire.size, 1 << 30):
        disk.trim(at // length, (1 << 30) // length)
    eventually(lambda: contained.server.stat()["memoryUsed"] <= MIB, "empty disks use 1 MiB at most")
    contained.nobody_killed()


@pytest.fixture
def khugepaged():
    """Reads a file of the kernel's khugepaged, after it sets others, which are restored at the end."""
    directory = pathlib.Path("/sys/kernel/mm/transparent_hugepage/khugepaged")
    before = {}

    def read(name, **settings):
        for knob, value in settings.items():
            before.setdefault(knob, (directory / knob).read_text())
            (directory / knob).write_text(str(value))
        return int((directory / name).read_text())

    yield read
    for knob, value in before.items():
        (directory / knob).write_text(value)


def test_what_is_trimmed_leaves_the_groups_counter(contained, figure, khugepaged):
    """Data fills 3/4 of the group, and 1/16 of it stays."""
    before, written = contained.group.used(), GROUP * 3 // 4
    disk = Blocks(contained.server, "a", MIB)
    disk.fill(written)
    assert len(disk.versions) == written
    for at in range(0, written, 16):
        disk.trim(at + 1, 15)
    more, ms = falls_to(written // 16 * MIB + 4 * MIB, lambda: contained.group.used() - before,
                        "the group's counter, more than before")
    figure(f"{written} MiB written, 15 of each 16 MiB trimmed: the group's counter is {more >> 10} KiB higher, "
           f"{ms} ms after the last trim")
    # khugepaged, made fast, must not fill the holes with new memory.
    scans = khugepaged("full_scans", scan_sleep_millisecs=20, pages_to_scan=200_000)
    eventually(lambda: khugepaged("full_scans") >= scans + 3, "khugepaged looks at all memory three times", 120)
    falls_to(more + MIB, lambda: contained.group.used() - before, "the group's counter after khugepaged", 5)
    disk.check()


def test_three_disks_at_the_same_time(contained, together):
    disks = [Blocks(contained.server, name, 64 << 10, seed) for seed, name in enumerate("abc")]
    together(*(lambda disk=disk: disk.fill(MORE // 3) for disk in disks))
    contained.fits(sum(disk.mib for disk in disks), "on three disks, written at the same time")
    for disk in disks:
        disk.check()
    contained.nobody_killed()


def test_four_forks_at_the_same_time(contained, together):
    server = contained.server
    server.io("golden", f"write -P 7 0 {GOLDEN}M")
    server.run("fork", "golden", "fork1", "fork2", "fork3", "fork4")
    disks = [Blocks(server, f"fork{number}", SMALL, number) for number in (1, 2, 3, 4)]
    together(*(lambda disk=disk: disk.fill(MORE // 6) for disk in disks))
    contained.fits(GOLDEN + sum(disk.mib for disk in disks), "on a golden disk and four forks that write over it")
    golden = server.go("golden")
    for at in range(0, GOLDEN * MIB, MIB):
        same_bytes(golden.read(at, MIB), b"\7" * MIB, "golden", at=at)
    for disk in disks:
        disk.check()
        for index in range(0, GOLDEN * MIB // disk.length, 97):
            if index not in disk.versions and index not in disk.refused:
                found = disk.wire.read(index * disk.length, disk.length)
                same_bytes(found, b"\7" * disk.length, "what a fork did not write", at=index * disk.length)
    for wire in (golden, *(disk.wire for disk in disks)):
        wire.close()
    server.remove("golden", "fork1", "fork2", "fork3", "fork4")
    eventually(lambda: server.stat()["memoryUsed"] <= MIB, "empty disks use 1 MiB at most")
    contained.nobody_killed()
