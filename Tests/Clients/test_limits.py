"""Quotas and reserves of disks, and changes of the memory limit while the server runs."""

import re

import pytest

from support.compare import noise, same_files
from support.wire import ENOSPC, NO_HOLE, TRIM, WRITE, WRITE_ZEROES

MIB = 1 << 20


@pytest.fixture
def hog(server):
    """A server with 64 MiB, and a disk without a quota that could take all of them."""
    return server(memory="64M", create="hog=10G")


def limit_of(server, disk):
    return server.json("limit", disk)


def total(server):
    return server.json("limit")


def fill(server, disk, most=1 << 33):
    """Writes pages until an error. Returns the error and the number of bytes written before it."""
    wire, done, error = server.go(disk), 0, 0
    for piece in (65536, 4096):
        while done < most:
            error = wire.error(WRITE, done, piece, 0, bytes([7]) * piece)
            if error:
                break
            done += piece
    wire.close()
    return error, done


@pytest.fixture
def small(hog):
    hog.run("create", "small", "--size", "1G", "--quota", "8M")
    return hog


def test_a_quota_is_enospc_to_the_page(small):
    assert limit_of(small, "small")["quota"] == 8 * MIB
    assert fill(small, "small") == (ENOSPC, (8192 - 5 * 4) * 1024)  # all but the tables
    assert limit_of(small, "small")["charge"] == 8 * MIB


def test_a_quota_is_for_its_disk_only(small):
    fill(small, "small")
    small.io("hog", "write -P 3 1G 8M", "read -P 3 1G 8M")


def test_a_disk_at_its_quota_can_be_rewritten_and_a_discard_makes_room_at_once(small):
    fill(small, "small")
    small.io("small", "read -P 7 0 4M", "write -P 9 0 4M", "read -P 9 0 4M")
    small.io("small", "discard 0 1M", "write -P 5 100M 900k", "read -P 5 100M 900k")


def test_a_quota_can_be_raised_and_taken_off(small):
    fill(small, "small")
    small.run("limit", "small", "--quota", "12M")
    small.io("small", "write -P 5 200M 3M")
    small.run("limit", "small", "--quota", "none")
    small.io("small", "write -P 5 300M 8M")


def test_the_error_names_the_quota(hog):
    hog.run("create", "small", "--size", "1G", "--quota", "1M")
    reply = hog.go("small").ask(WRITE, 0, 2 * MIB, 0, b"\1" * (2 * MIB))
    assert reply.error == ENOSPC
    assert b"this disk's quota" in reply.chunks[-1][1]


@pytest.fixture
def kept(hog):
    """A disk with a reserve of 16 MiB beside a hog that has taken the rest."""
    hog.run("create", "kept", "--size", "1G", "--reserve", "16M")
    assert total(hog)["promised"] == 16 * MIB
    error, filled = fill(hog, "hog")
    assert error == ENOSPC
    assert filled <= 48 * MIB
    return hog


def test_a_reserve_is_there_while_others_go_on_trying(kept, together):
    got = {}
    together(lambda: got.update(hog=fill(kept, "hog")[0]),
             lambda: got.update(kept=fill(kept, "kept", 15 * MIB)))
    assert got == {"hog": ENOSPC, "kept": (0, 15 * MIB)}
    kept.io("kept", "read -P 7 0 15M")


def test_a_reserve_is_there_again_after_a_discard(kept):
    fill(kept, "kept", 15 * MIB)
    kept.io("kept", "discard 0 15M")
    fill(kept, "hog")
    assert fill(kept, "kept", 15 * MIB) == (0, 15 * MIB)


def test_a_fork_of_a_reserved_disk_needs_the_reserve_again(kept):
    fill(kept, "kept", 15 * MIB)
    kept.refused("reserve of 16777216 bytes", "fork", "kept", "copy")
    assert kept.names() == ["hog", "kept"]
    kept.io("kept", "write -P 8 0 15M")
    kept.io("hog", "discard 0 1G")
    kept.run("fork", "kept", "copy")
    assert limit_of(kept, "kept")["charge"] == 0
    fill(kept, "hog")
    kept.io("kept", "write -P 9 0 15M", "read -P 9 0 15M")
    kept.io("copy", "read -P 8 0 15M")
    kept.remove("kept", "copy")
    assert total(kept)["promised"] == 0


def test_a_reserve_that_cannot_be_had_is_refused(kept):
    kept.refused("kept for it.*memory limit", "limit", "hog", "--reserve", "60M")


def test_forks_have_quotas_of_their_own_that_a_reset_gives_back(hog):
    hog.io("hog", "write -P 1 0 4M")
    hog.run("fork", "hog", "a", "b", "--quota", "1M")
    assert fill(hog, "a") == (ENOSPC, (1024 - 3 * 4) * 1024)
    hog.io("a", "read -P 1 2M 2M")
    hog.io("b", "write -P 2 0 512k", "read -P 2 0 512k")
    assert limit_of(hog, "hog").get("quota") is None, "the origin has none"
    hog.run("reset", "a")
    assert limit_of(hog, "a")["charge"] == 0
    hog.io("a", "write -P 2 0 512k", "read -P 1 1M 3M")


def test_forks_with_reserves_are_made_all_or_none(hog):
    hog.refused("memory limit", "fork", "hog", "c", "d", "--reserve", "40M")
    assert hog.names() == ["hog"]


def test_zeroes_without_a_hole_count_and_use_the_reserve(hog):
    hog.run("create", "thick", "--size", "1G", "--quota", "4M", "--reserve", "4M")
    wire = hog.go("thick")
    assert wire.error(WRITE_ZEROES, 0, 2 * MIB, NO_HOLE) == 0
    assert wire.error(WRITE_ZEROES, 16 * MIB, 4 * MIB, NO_HOLE) == ENOSPC
    assert wire.error(TRIM, 0, 1 << 30) == 0
    assert wire.error(WRITE_ZEROES, 0, 1 << 30) == 0
    assert limit_of(hog, "thick")["charge"] == 0, "a trim leaves nothing"
    fill(hog, "hog")
    assert wire.error(WRITE_ZEROES, 0, 3 * MIB, NO_HOLE) == 0
    assert wire.read(MIB, 4096) == bytes(4096)


def test_an_import_beyond_its_quota_is_refused(hog, tmp_path):
    (tmp_path / "image").write_bytes(noise(3 * MIB))
    hog.refused("quota", "import", "i", tmp_path / "image", "--quota", "1M")
    assert hog.names() == ["hog"]


def test_an_import_within_its_quota_is_charged_and_comes_out_again(hog, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(noise(3 * MIB))
    hog.run("import", "i", image, "--quota", "8M", "--reserve", "6M")
    assert limit_of(hog, "i")["charge"] >= 3 * MIB
    hog.run("export", "i", tmp_path / "copy")
    same_files(tmp_path / "copy", image)


def test_limits_are_shown_where_there_are_any(hog):
    assert "QUOTA" not in hog.run("list").stdout
    hog.run("create", "small", "--size", "1G", "--quota", "8M")
    listed = hog.run("list").stdout
    for line in ("^NAME .*OWN +CHARGE +QUOTA +RESERVE", "^small .* 0 B +8 MiB +-", "^hog .* - +- +-"):
        assert re.search(line, listed, re.MULTILINE), listed
    assert re.search(r"^promised +0 B", hog.run("stat", "small").stdout, re.MULTILINE)
    assert re.search(r"^quota +8 MiB", hog.run("limit", "small").stdout, re.MULTILINE)


@pytest.mark.parametrize("reason, command", [
    ("nobody", "limit nobody"),
    ("which disk", "limit --quota 1M"),
    ("all disks", "limit hog --memory 1G"),
    ("quota", "limit hog --quota much"),
    ("4096", "limit hog --quota 0"),
    ("more than its quota", "limit hog --quota 1M --reserve 2M"),
    ("memory limit", "create more --size 1G --reserve 1T"),
    ("too low", "limit --memory 1M"),
    ("too high", "limit --memory 8000T"),
], ids=lambda part: part.replace(" ", "-"))
def test_nonsense_is_refused_in_words_and_changes_nothing(hog, reason, command):
    hog.refused(reason, *command.split())
    assert hog.names() == ["hog"]
    limits = limit_of(hog, "hog")
    assert (limits.get("quota"), limits.get("reserve")) == (None, None)


def test_the_memory_limit_is_raised_while_the_server_runs(hog):
    assert total(hog)["limit"] == 64 * MIB
    fill(hog, "hog")
    hog.run("limit", "--memory", "96M")
    hog.io("hog", "write -P 4 1G 24M", "read -P 4 1G 24M")


def test_the_memory_limit_is_not_lowered_below_what_is_promised(hog):
    hog.run("limit", "--memory", "96M")
    hog.run("limit", "hog", "--reserve", "90M")
    hog.refused("reserve", "limit", "--memory", "80M")
    hog.run("limit", "hog", "--reserve", "none")
    hog.run("limit", "--memory", "80M")


def test_below_what_is_used_no_new_page_is_had_and_old_ones_are_rewritten(hog):
    fill(hog, "hog")
    hog.run("limit", "--memory", "96M")
    hog.io("hog", "write -P 4 1G 24M")
    hog.run("limit", "--memory", "32M")
    assert fill(hog, "hog")[0] == ENOSPC
    hog.io("hog", "read -P 4 1G 24M", "write -P 5 1G 24M")
    hog.run("limit", "--memory", "64M")
