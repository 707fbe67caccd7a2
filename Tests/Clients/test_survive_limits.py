"""What several disks share is shared after a kill too: the quota of forks that clients made by connecting, and
the limits of who made them."""

import os

import pytest

from support.compare import same_bytes
from support.tools import needs
from support.wire import ENOSPC, TRIM, WRITE, Wire

MIB = 1 << 20
PIECE = 256 << 10


def fill(one, export, first=0, most=64):
    """Writes until there is no room. Returns the bytes that are there."""
    wire = one.go(export)
    for number in range(first, first + most):
        if error := wire.error(WRITE, number * PIECE, PIECE, 0, bytes([number % 250 + 1]) * PIECE):
            assert error == ENOSPC
            break
    else:
        number += 1
    one.leave(wire)
    return number * PIECE


def test_forks_by_connecting_share_the_quota_of_their_origin(survivor):
    one = survivor(create="golden=64M")
    one.write("golden", 0, b"\1" * MIB)
    one.run("limit", "golden", "--quota", "4M")
    there = fill(one, "golden@one")
    assert MIB < there < 4 * MIB
    one.again()
    # What the first fork has counts for the next one.
    assert one.disk("one")["quota"] == 4 * MIB
    assert fill(one, "golden@two") <= 4 * MIB - there
    assert fill(one, "golden@one", first=there // PIECE) <= there + PIECE, "nor does it get more itself"
    charge = one.disk("one")["charge"]
    assert 0 < charge <= 4 * MIB
    one.again()
    one.run("limit", "golden", "--quota", "16M")
    assert {disk["quota"] for disk in one.json("list")} == {16 * MIB}
    assert fill(one, "one", first=there // PIECE) > there + 4 * MIB
    one.again()
    assert {disk["quota"] for disk in one.json("list")} == {16 * MIB}
    one.run("remove", "one")
    one.again()
    same_bytes(one.read("golden", 0, 2 * MIB), b"\1" * MIB + bytes(MIB), "golden")
    one.run("limit", "golden", "--quota", "none")
    one.again()
    assert {disk.get("quota") for disk in one.json("list")} == {None}
    assert fill(one, "two") == 64 * PIECE


def test_a_fork_by_connecting_outlives_its_origin(survivor):
    one = survivor()
    one.run("create", "golden", "--size", "64M", "--quota", "4M")
    one.write("golden", 0, b"\1" * MIB)
    there = fill(one, "golden@job")
    one.remove("golden")
    one.again()
    assert one.names() == ["job"]
    same_bytes(one.read("job", 0, PIECE), b"\1" * PIECE, "job")
    one.run("reset", "job")
    same_bytes(one.read("job", 0, 2 * MIB), b"\1" * MIB + bytes(MIB), "job")
    assert there > MIB
    # A new disk of that name is not what it was forked from, after a kill neither.
    one.run("create", "golden", "--size", "1M")
    for _ in range(2):
        (job,) = [disk for disk in one.json("list") if disk["name"] == "job"]
        assert (job["origin"], job["hasOrigin"]) == ("golden", False)
        one.again()


@pytest.fixture
def ruled(survivor, tmp_path):
    """A server with a rule file, as which this process may do all, and tenants by pre-shared keys."""
    needs("psktool", "nbdinfo")
    pytest.importorskip("nbd")
    from support.tls import psk_file
    keys = psk_file(tmp_path / "keys.psk", "bob", "carol")
    (tmp_path / "rules").write_text(
        f"limit psk:bob forks=2 memory=4M\nlimit psk:carol forks=1\npsk:* golden read,fork\npsk:* $name-* all\nuid:{os.getuid()} * all\n")
    one = survivor("--tcp", "127.0.0.1:0", "--tls-psk", keys, "--rules", tmp_path / "rules", create="golden=64M")
    one.keys = keys
    return one


def tenant(one, who, export):
    import nbd
    handle = nbd.NBD()
    handle.set_tls(nbd.TLS_REQUIRE)
    handle.set_tls_psk_file(str(one.keys))
    handle.set_tls_username(who)
    handle.set_export_name(export)
    host, port = one.tcp.rsplit(":", 1)
    handle.connect_tcp(host, port)
    return handle


def test_forks_belong_to_who_made_them(ruled):
    import nbd
    one = ruled
    for number in (1, 2):
        tenant(one, "bob", f"golden@bob-{number}").pwrite(b"b" * MIB, 0)
    tenant(one, "carol", "golden@carol-1").pwrite(b"c" * MIB, 0)
    for _ in range(2):
        one.again()
        with pytest.raises(nbd.Error):
            tenant(one, "bob", "golden@bob-3")
        with pytest.raises(nbd.Error):
            tenant(one, "carol", "golden@carol-2")
        with pytest.raises(nbd.Error):
            tenant(one, "carol", "bob-1")
        # Both of bob's count for his memory.
        bob = tenant(one, "bob", "bob-2")
        with pytest.raises(nbd.Error):
            for number in range(1, 4):
                bob.pwrite(b"B" * MIB, number * MIB)
        assert bob.pread(MIB, 0) == b"b" * MIB
        bob.trim(63 * MIB, MIB)
        bob.shutdown()
    one.remove("carol-1")
    tenant(one, "carol", "golden@carol-2").pwrite(b"c", 0)
    one.again()
    assert one.names() == ["bob-1", "bob-2", "carol-2", "golden"]


def test_a_client_on_the_socket_is_who_it_was(survivor):
    """Rules that name nobody else: the forks of this user are this user's."""
    one = survivor(create="golden=1M")
    Wire(f"{one.directory}/nbd.sock").go("golden@job").write(0, b"j")
    one.again()
    assert one.read("golden@job", 0, 2) == b"j\0"
    assert one.json("list")[1]["origin"] == "golden"


def test_a_reserve_that_only_just_fits(survivor):
    """Trims may use the last frames of the limit, which no new reserve gets. The same command line still starts."""
    one = survivor(memory="64M", create=["golden=32M", "kept=64M", "filler=64M"])
    one.write("golden", 0, os.urandom(16 * MIB))
    one.run("fork", "golden", "fork")
    one.run("limit", "kept", "--reserve", "8M")
    fill(one, "filler", most=256)
    wire, page = one.go("filler"), 60 * MIB
    while not wire.error(WRITE, page, 4096, 0, b"f" * 4096):
        page += 4096
    one.leave(wire)
    wire, errors = one.go("fork"), set()
    for at in range(0, 16 * MIB, 2 * MIB):
        errors.add(wire.error(TRIM, at + 4096, 4096))
    one.leave(wire)
    assert errors == {0, ENOSPC}, "trims have used what there is"
    one.again()
    assert one.disk("kept")["reserve"] == 8 * MIB
    wire = one.go("kept")
    assert all(wire.error(WRITE, at * MIB, MIB, 0, b"k" * MIB) == 0 for at in range(7)), "what is reserved is there"
