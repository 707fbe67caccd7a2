"""libnbd's nbdinfo: sizes, flags, the list, and the map of a sparse disk."""

import json
import re

import pytest

from support.tools import refused, run

LAST = (1 << 40) - 4096


@pytest.fixture
def disks(server):
    """A disk with 64 KiB of data at 1 MiB, and 4 KiB at its end. The rest is a hole."""
    server = server(create=("data=1T", "tiny=513"))
    server.io("data", "write -P 7 1M 64k", f"write -P 7 {LAST} 4k")
    return server


@pytest.mark.parametrize("line", [
    r"export-size: 1099511627776 \(1T\)",
    "protocol: newstyle-fixed without TLS, using structured packets",
    "base:allocation",
    "is_read_only: false",
    *(f"{flag}: true" for flag in (
        "can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_df", "can_cache",
        "can_multi_conn")),
    "block_size_minimum: 1", "block_size_preferred: 4096", "block_size_maximum: 33554432",
], ids=lambda line: re.sub(r"\W+", "-", line))
def test_nbdinfo_as_text(disks, line):
    said = run("nbdinfo", disks.uri("data")).stdout
    assert re.search(line, said), said


def test_nbdinfo_as_json(disks):
    (export,) = json.loads(run("nbdinfo", "--json", disks.uri("data")).stdout)["exports"]
    wanted = {"export-name": "data", "export-size": 1 << 40, "description": "hugemem RAM disk",
              "contexts": ["base:allocation", "x-hugemem:origin", "x-hugemem:frames"]}
    assert {key: export.get(key) for key in wanted} == wanted


def test_nbdinfo_map(disks):
    """Three columns matter: offset, length and type (0 for data, 3 for hole and zero)."""
    lines = run("nbdinfo", "--map", disks.uri("data")).stdout.splitlines()
    assert [tuple(map(int, line.split()[:3])) for line in lines] == [
        (0, 1048576, 3), (1048576, 65536, 0), (1114112, 1099510509568, 3), (LAST, 4096, 0)]


def test_nbdinfo_map_totals(disks):
    lines = run("nbdinfo", "--map", "--totals", disks.uri("data")).stdout.splitlines()
    assert {kind: int(size) for size, _, kind, *_ in map(str.split, lines)}["0"] == 65536 + 4096


@pytest.mark.parametrize("name, size", [("data", 1 << 40), ("tiny", 513)])
def test_nbdinfo_size(disks, name, size):
    assert run("nbdinfo", "--size", disks.uri(name)).stdout == f"{size}\n"


def test_nbdinfo_map_of_an_odd_size(disks):
    assert run("nbdinfo", "--map", disks.uri("tiny")).stdout.split()[:3] == ["0", "513", "3"]


def test_nbdinfo_list(disks):
    exports = json.loads(run("nbdinfo", "--list", "--json", disks.uri("")).stdout)["exports"]
    assert sorted(export["export-name"] for export in exports) == ["data", "tiny"]


@pytest.mark.parametrize("question, status", [
    (("--can", "flush"), 0), (("--can", "multi-conn"), 0), (("--is", "read-only"), 2)],
    ids=["can-flush", "can-multi-conn", "is-read-only"])
def test_nbdinfo_answers_by_its_status(disks, question, status):
    assert run("nbdinfo", *question, disks.uri("data"), check=False).returncode == status


def test_nbdinfo_of_a_disk_that_does_not_exist(disks):
    refused("No such file", "nbdinfo", disks.uri("nosuch"))


@pytest.mark.parametrize("name, reason", [
    ("nosuch", 'no disk is named "nosuch"'),
    ("", "the empty export name means the only disk, and there are 2")],
    ids=["unknown", "empty"])
def test_the_server_says_why_a_name_is_no_disk(disks, name, reason):
    """qemu shows the server's message. libnbd does not."""
    refused(reason, "qemu-img", "info", disks.uri(name))
