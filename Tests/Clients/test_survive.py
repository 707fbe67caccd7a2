"""serve --survive: what is there after SIGKILL or SIGTERM and a start with the same command line."""

import pytest

from support.compare import noise, same_bytes
from support.wire import FLUSH, RESIZE, TRIM, WRITE_ZEROES

MIB = 1 << 20
KEPT = ("name", "size", "origin", "isReadOnly", "description", "quota", "reserve", "hasOrigin")


def settings(server):
    """What a list says about each disk, but for figures that change by themselves."""
    return [{key: disk.get(key) for key in KEPT} for disk in server.json("list")]


@pytest.fixture(params=["keeper", "file"])
def kept(request, survivor, shared_memory):
    """kept(OPTION...): a server whose memory a keeper has, and one whose memory is in a file."""
    file = shared_memory / "memory" if request.param == "file" else None
    return lambda *options, **more: survivor(*options, file=file, **more)


@pytest.fixture(params=["SIGKILL", "SIGTERM"])
def restarted(request):
    """Ends a server in one of the two ways, and starts it again with the same command line."""
    def restart(one):
        one.kill() if request.param == "SIGKILL" else one.stop()
        return one.start()
    return restart


def test_acknowledged_writes_are_there(kept, restarted):
    one = kept(create=["small=1M", "odd=5000001", "large=1T"])
    data = {"small": (0, noise(MIB, 1)), "odd": (4_990_001, noise(10_000, 2)), "large": ((1 << 40) - 3 * MIB, noise(3 * MIB, 3))}
    for name, (at, bytes_) in data.items():
        one.write(name, at, bytes_)
    wire = one.go("large")
    wire.write(4 * MIB, noise(4 * MIB, 4))
    assert wire.error(TRIM, 5 * MIB - 100, 2 * MIB) == 0
    assert wire.error(WRITE_ZEROES, 7 * MIB + 1, 100) == 0
    assert wire.error(FLUSH) == 0
    wanted = bytearray(noise(4 * MIB, 4))
    wanted[MIB - 100:3 * MIB - 100] = bytes(2 * MIB)
    wanted[3 * MIB + 1:3 * MIB + 101] = bytes(100)
    before = settings(one)
    for _ in range(3):
        restarted(one)
        assert settings(one) == before
        for name, (at, bytes_) in data.items():
            same_bytes(one.read(name, at, len(bytes_)), bytes_, name, at=at)
        same_bytes(one.read("large", 4 * MIB, 4 * MIB), bytes(wanted), "large", at=4 * MIB)
        same_bytes(one.read("odd", 0, 4_990_001), bytes(4_990_001), "odd, where nothing was written")
        # It is an ordinary disk.
        data["small"] = (0, noise(MIB, data["small"][1][0] + 10))
        one.write("small", *data["small"])


def test_the_same_command_line_makes_no_disk_twice(kept, restarted, tmp_path):
    (tmp_path / "image").write_bytes(noise(MIB, 5))
    one = kept("--import", f"imported={tmp_path}/image", create="made=8M")
    one.write("imported", 0, b"changed")
    one.write("made", 0, b"changed")
    one.run("create", "later", "--size", "1M")
    (tmp_path / "image").write_bytes(noise(MIB, 6))
    restarted(one)
    assert one.names() == ["imported", "later", "made"]
    assert one.read("made", 0, 8) == b"changed\0"
    same_bytes(one.read("imported", 0, MIB), b"changed" + noise(MIB, 5)[7:], "not imported again")
    # What was removed is a disk of the command line, and comes back empty.
    one.remove("made")
    restarted(one)
    assert one.read("made", 0, 8) == bytes(8)


def test_another_size_on_the_command_line_changes_nothing_and_is_told(kept):
    one = kept(create="made=8M")
    assert "--create" not in one.again().log.read_text()
    one.again("--create", "made=9M")
    assert "--create changes no disk that is there" in one.log.read_text()
    assert one.disk("made")["size"] == 8 * MIB


def test_every_setting_is_kept(kept, restarted):
    one = kept(create=["plain=4M"])
    one.run("create", "golden", "--size", "16M")
    one.write("golden", 0, noise(2 * MIB, 1))
    one.run("fork", "golden", "one", "two", "three")
    one.run("limit", "one", "--quota", "8M", "--reserve", "4M")
    one.run("limit", "two", "--reserve", "3M")
    one.run("set", "two", "--read-only", "--description", "größer als 2")
    one.run("set", "plain", "--description", "x" * 255)
    one.run("resize", "plain", "9000001")
    one.run("resize", "three", "1M", "--shrink")
    one.run("rename", "golden", "platinum")
    before, promised = settings(one), one.stat()["memoryReserved"] if "memoryReserved" in one.stat() else None
    assert [disk["origin"] for disk in before] == ["platinum", None, None, "platinum", "platinum"]
    restarted(one)
    assert settings(one) == before
    if promised is not None:
        assert one.stat()["memoryReserved"] == promised
    # They are not only shown.
    assert one.go("two").flags & 2, "two is read-only"
    wire = one.go("one")
    assert 28 in [wire.error(1, at, MIB, 0, noise(MIB, 9)) for at in range(0, 16 * MIB, MIB)], "the quota is kept"
    wire.close()
    one.run("set", "two", "--read-write")
    one.run("rename", "platinum", "golden")
    restarted(one)
    assert [disk["origin"] for disk in settings(one)] == [None, "golden", None, "golden", "golden"]
    one.run("limit", "one", "--quota", "none", "--reserve", "none")
    restarted(one)
    assert one.json("list")[1].get("quota") is None and one.json("list")[1].get("reserve") is None


def test_a_fork_is_reset_after_the_restart(kept, restarted):
    one = kept()
    one.run("create", "golden", "--size", "16M")
    golden = noise(3 * MIB, 1)
    one.write("golden", 5000, golden)
    one.run("fork", "golden", "fork", "other")
    one.run("fork", "fork", "grandchild")
    one.write("fork", 6000, noise(4 * MIB, 2))
    one.write("golden", 0, bytes(5000) + b"later" * MIB)
    one.run("resize", "fork", "20M")
    restarted(one)
    one.run("reset", "fork")
    assert one.disk("fork")["size"] == 16 * MIB
    for _ in range(2):
        same_bytes(one.read("fork", 5000, 3 * MIB), golden, "fork", at=5000)
        same_bytes(one.read("other", 5000, 3 * MIB), golden, "other", at=5000)
        restarted(one)
    one.write("other", 0, b"x" * 9000)
    # Without its origin too, and what was shared is counted once.
    one.remove("golden")
    restarted(one)
    one.run("reset", "other")
    same_bytes(one.read("other", 0, 9000), (bytes(5000) + golden)[:9000], "other")
    same_bytes(one.read("grandchild", 5000, 3 * MIB), golden, "grandchild", at=5000)
    one.remove("fork", "other")
    restarted(one)
    same_bytes(one.read("grandchild", 5000, 3 * MIB), golden, "grandchild", at=5000)
    one.remove("grandchild")
    # Recovered disks give their memory back like others.
    assert one.in_use() == 0


def test_what_was_cut_off_is_gone(kept, restarted):
    one = kept(create="disk=16M")
    one.write("disk", 0, b"s" * (16 * MIB))
    one.run("resize", "disk", str(5 * MIB + 1000), "--shrink")
    restarted(one)
    assert one.in_use() <= 6 * MIB
    one.run("resize", "disk", "16M")
    restarted(one)
    wanted = b"s" * (5 * MIB + 1000) + bytes(11 * MIB - 1000)
    same_bytes(one.read("disk", 0, 16 * MIB), wanted, "disk")


def test_a_size_that_a_client_sets(kept, restarted):
    one = kept(create="disk=4M")
    one.write("disk", 0, b"d" * (4 * MIB))
    wire = one.wire().go("disk", extended=True)
    assert wire.error(RESIZE, 6 * MIB) == 0
    restarted(one)
    assert one.disk("disk")["size"] == 6 * MIB
    wire = one.wire().go("disk", extended=True)
    assert wire.error(RESIZE, 1000) == 0
    restarted(one)
    wire = one.wire().go("disk", extended=True)
    assert wire.size == 1000
    assert wire.error(RESIZE, 4 * MIB) == 0
    same_bytes(one.read("disk", 0, 4 * MIB), b"d" * 1000 + bytes(4 * MIB - 1000), "disk")


def test_temporary_forks_and_held_disks_end_with_the_server(kept, restarted):
    one = kept(create="golden=16M")
    one.write("golden", 0, noise(MIB, 1))
    used = one.in_use()
    temporary, lasting = one.go("golden@"), one.go("golden@job")
    temporary.write(0, b"t" * (8 * MIB))
    lasting.write(0, b"j" * 4096)
    assert one.in_use() >= used + 8 * MIB
    restarted(one)
    assert one.names() == ["golden", "job"]
    assert [disk["connections"] for disk in one.json("list")] == [0, 0]
    assert one.in_use() <= used + MIB // 4
    same_bytes(one.read("job", 0, MIB), b"j" * 4096 + noise(MIB, 1)[4096:], "job")
    # The fork of that name is there, and not made anew.
    same_bytes(one.read("golden@job", 0, 4096), b"j" * 4096, "golden@job")


@pytest.mark.parametrize("times", [1, 3])
def test_memory_does_not_creep_up(kept, restarted, times):
    one = kept(create="golden=64M")
    one.write("golden", 0, noise(8 * MIB, 1))
    one.run("fork", "golden", *[f"fork{number}" for number in range(20)])
    for number in range(20):
        one.write(f"fork{number}", number * MIB + 500, noise(300_000, number))
    restarted(one)
    used = one.in_use()
    for _ in range(times):
        restarted(one)
        assert one.in_use() == used
    one.remove("golden", *[f"fork{number}" for number in range(20)])
    assert one.in_use() == 0
    restarted(one)
    # The disks of the command line are made again, and empty.
    assert one.names() == ["golden"] and one.in_use() == 0


def test_it_survives_with_no_disks_and_with_thousands(kept, restarted):
    one = kept()
    restarted(one)
    assert one.names() == []
    one.run("create", "golden", "--size", "1M")
    one.write("golden", 0, b"g" * 4096)
    names = [f"fork{number:04}" for number in range(3000)]
    one.run("fork", "golden", *names)
    one.write("fork2999", 0, b"f")
    restarted(one)
    assert one.names() == [*names, "golden"]
    assert one.read("fork2999", 0, 2) == b"fg" and one.read("fork2998", 0, 2) == b"gg"
    one.remove(*names)
    restarted(one)
    assert one.names() == ["golden"]
    assert one.read("golden", 0, 2) == b"gg"
