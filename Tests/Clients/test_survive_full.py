"""Memory files that can run out although the limit allows more: on a tmpfs that others fill, and on hugetlbfs. The
server goes on; writes to new pages find no memory, and disks are not made."""

import mmap
import os
from pathlib import Path

import pytest

from support.compare import noise, same_bytes
from support.server import BINARY
from support.tools import refused, run
from support.wire import ENOSPC, TRIM, WRITE

MIB = 1 << 20
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


@pytest.fixture
def pool():
    """pool(PAGES): makes the system keep so many free huge pages. Skips the test if it cannot."""
    count = POOL / "nr_hugepages"
    before = count.read_text() if POOL.exists() else None

    def keep(pages):
        if before is None:
            pytest.skip("this kernel has no hugetlbfs with pages of 2 MiB")
        used = int(count.read_text()) - int((POOL / "free_hugepages").read_text())
        try:
            count.write_text(str(used + pages))
        except OSError as error:
            pytest.skip(f"no huge pages can be reserved: {error}")
        if int((POOL / "free_hugepages").read_text()) < pages:
            pytest.skip(f"the system finds no {pages} huge pages")

    yield keep
    if before is not None:
        count.write_text(before)


@pytest.fixture(params=["tmpfs", "tmpfs with huge pages", "hugetlbfs"])
def place(request, pool, mounted):
    """A directory with room for 72 MiB."""
    if request.param == "hugetlbfs":
        pool(36)
        return mounted("hugetlbfs", "pagesize=2M")
    return mounted("tmpfs", "size=72M" + (",huge=advise" if "huge" in request.param else ""))


def fill(path):
    """Uses up what a file system has."""
    with open(path / "filler", "w+b", buffering=0) as filler, pytest.raises(OSError):
        for size in range(0, 1 << 40, 2 * MIB):
            if os.statvfs(path).f_bsize == 4096:
                filler.write(bytes(2 * MIB))
                continue
            # It has no write(2). A mapping takes a page from the pool, and keeps it for the file.
            filler.truncate(size + 2 * MIB)
            with mmap.mmap(filler.fileno(), 2 * MIB, offset=size) as page:
                page[0] = 1
    assert os.statvfs(path).f_bavail == 0


def used(one):
    """The bytes that a server's memory file has."""
    return one.file.stat().st_blocks * 512


def empty(path):
    (path / "filler").unlink()


def test_others_take_the_room(place, survivor):
    one = survivor(create="disk=64M", memory="48M", file=place / "memory")
    assert "others can use up the room" in one.log.read_text()
    there = {0: noise(4 * MIB, 0)}
    one.write("disk", 0, there[0])
    assert 24 * MIB < one.stat()["survival"]["room"] < 72 * MIB and "room left for it" in one.run("stat").stdout
    fill(place)
    assert one.stat()["survival"]["room"] == 0
    wire, errors = one.go("disk"), []
    for at in range(4 * MIB, 24 * MIB, 65_536):
        data = noise(65_536, at)
        errors.append(wire.error(WRITE, at, len(data), 0, data))
        if not errors[-1]:
            there[at] = data
    assert set(errors) == {0, ENOSPC} or set(errors) == {ENOSPC}
    # What is there can be written, and what a trim frees can be used again.
    assert wire.error(WRITE, MIB, 4096, 0, b"w" * 4096) == 0
    there[0] = there[0][:MIB] + b"w" * 4096 + there[0][MIB + 4096:]
    one.leave(wire)

    def is_there():
        for at, data in there.items():
            same_bytes(one.read("disk", at, len(data)), data, "disk", at=at)

    is_there()
    one.again()
    is_there()
    empty(place)
    wire = one.go("disk")
    for at in range(24 * MIB, 32 * MIB, MIB):
        there[at] = noise(MIB, at)
        assert wire.error(WRITE, at, MIB, 0, there[at]) == 0, "there is room again"
    one.leave(wire)
    one.take_over()
    is_there()


def test_disks_and_forks_without_room(place, survivor):
    """A disk needs memory for its record. Those that are there go on."""
    one = survivor(create="disk=16M", memory="48M", file=place / "memory")
    one.write("disk", 0, b"d" * 4096)
    fill(place)
    made = 0
    for number in range(40):
        done = one.run("fork", "disk", *(f"f{number}-{fork}" for fork in range(200)), check=False)
        if done.returncode:
            assert "memory file is full" in done.stderr, done.stderr
            break
        made += 200
    assert 0 < made < 8000, "some fit into what the server has, and not all"
    one.run("set", "disk", "--description", "changed")
    one.run("rename", "f0-0", "other")
    one.again()
    names = one.names()
    assert len(names) == made + 1 and "other" in names and one.disk("disk")["description"] == "changed"
    assert one.read("other", 0, 2) == b"dd"
    one.run("remove", *(name for name in names if name.startswith("f")))
    empty(place)
    one.run("fork", "disk", *(f"g{number}" for number in range(400)))
    one.again()
    assert len(one.names()) == 402


def test_the_room_of_records_comes_back(mounted, survivor):
    one = survivor(create="disk=16M", memory="48M", file=mounted("tmpfs", "size=256M") / "memory")
    before = used(one)
    one.run("fork", "disk", *(f"f{number}" for number in range(5000)))
    assert used(one) > before + 6 * MIB
    one.run("remove", *(f"f{number}" for number in range(5000)))
    one.again()
    assert one.names() == ["disk"] and used(one) <= before + 4 * MIB


def test_what_becomes_free_is_given_back_in_whole_blocks(place, survivor):
    one = survivor(create="disk=64M", memory="48M", file=place / "memory")
    before = used(one)
    one.write("disk", 0, noise(32 * MIB, 1))
    full = used(one)
    assert full - before >= 32 * MIB
    wire = one.go("disk")
    # A hole in each block, which gives nothing back, but has room for others. With others in the rest of the file
    # system, no huge page takes a block of its own.
    for at in range(0, 32 * MIB, 2 * MIB):
        assert wire.error(TRIM, at + MIB, MIB) == 0
    one.run("shrink")
    assert used(one) >= full - 4 * MIB
    fill(place)
    assert wire.error(WRITE, 32 * MIB, 14 * MIB, 0, noise(14 * MIB, 2)) == 0
    assert used(one) <= full + 2 * MIB
    empty(place)
    assert wire.error(TRIM, 0, 64 * MIB) == 0
    one.leave(wire)
    one.run("shrink")
    assert used(one) <= before + 4 * MIB


def test_a_pool_that_is_too_small(pool, mounted, tmp_path):
    pool(16)
    path = mounted("hugetlbfs", "pagesize=2M")
    serve = [BINARY, "serve", "--directory", tmp_path / "run", "--memory-file", path / "memory", "--memory"]
    refused("room for .*the server needs 1032 MiB.*vm.nr_hugepages", *serve, "1G")
    assert not (path / "memory").exists()


def test_no_room_for_the_directory(pool, mounted, tmp_path):
    pool(1)
    file = mounted("hugetlbfs", "pagesize=2M") / "memory"
    # It is there, but has nothing yet.
    file.touch(0o600)
    os.truncate(file, 2 * MIB)
    for _ in range(2):
        refused("no room for the directory of disks", BINARY, "serve", "--directory", tmp_path / "run", "--memory-file", file, "--memory", "2M")
        assert file.stat().st_blocks == 0


def test_huge_pages_are_told_of(pool, mounted, survivor):
    pool(36)
    one = survivor(create="disk=64M", memory="48M", file=mounted("hugetlbfs", "pagesize=2M") / "memory")
    assert "on your hugetlbfs" in run(BINARY, "stat", "--directory", one.directory).stdout + one.log.read_text()


def test_a_limit_above_the_room_is_told_of(mounted, survivor):
    place = mounted("tmpfs", "size=96M")
    one = survivor(create="disk=16M", memory="64M", file=place / "memory")
    assert "has room for" in one.run("limit", "--memory", "1G").stderr
    assert "has room for" not in one.run("limit", "--memory", "48M").stderr
    assert "has room for" not in one.run("limit").stderr


@pytest.mark.parametrize("has_name", [True, False])
def test_a_takeover_of_other_memory_is_refused(shared_memory, survivor, has_name):
    """A later start with the same options would not find the disks."""
    one = survivor(create="disk=16M", memory="48M", file=shared_memory / "memory" if has_name else None)
    one.write("disk", 0, b"d")
    other = ["--memory", "48M", "--takeover", "--memory-file", shared_memory / "other"]
    says = f"memory of that server is {one.file}; name it with --memory-file" if has_name else "has no name; use --survive"
    one.refused(f"{says}.*the other server goes on", options=other)
    assert not (shared_memory / "other").exists()
    if has_name:
        one.refused(says, options=["--memory", "48M", "--takeover", "--survive"])
        assert one.keepers() == []
    assert one.read("disk", 0, 2) == b"d\0"
    one.take_over()
    assert one.read("disk", 0, 2) == b"d\0"
