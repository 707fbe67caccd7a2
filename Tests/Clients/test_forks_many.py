"""A thousand forks in one call, then ten thousand. The tests check what each fork costs, and that
nothing is left of them in the end."""

import struct

import pytest

from support.compare import eventually, noise, same_files
from support.tools import run

MIB = 1 << 20
THOUSAND = [f"vm{number}" for number in range(1, 1001)]


@pytest.fixture
def golden(server, tmp_path):
    """A disk of 10 GiB with 256 MiB of data. The background has done its work on them."""
    server = server(create="golden=10G")
    server.run("tune", "khugepaged/scan_sleep_millisecs=50")
    image = tmp_path / "in"
    image.write_bytes(noise(256 * MIB))
    run("nbdcopy", image, server.uri("golden"))
    eventually(lambda: server.disk("golden")["huge"] == 256 * MIB, "all data is in huge frames")
    server.run("shrink")
    return server


def test_an_idle_fork_costs_16_kib_at_most(golden, figure):
    before, resident = golden.stat()["memoryUsed"], golden.resident()
    golden.run("fork", "golden", *THOUSAND)
    frames = (golden.stat()["memoryUsed"] - before) // 1000
    each = (golden.resident() - resident) // 1000
    figure(f"1000 forks of 10 GiB with 256 MiB of data: each {frames} bytes of frames, {each} resident")
    assert len(golden.names()) == 1001
    assert frames <= 16384
    assert each <= 16384


def test_each_fork_has_the_data(golden, tmp_path):
    golden.run("fork", "golden", *THOUSAND)
    for name in ("vm1", "vm500", "vm1000"):
        out = tmp_path / name
        run("nbdcopy", golden.uri(name), out)
        same_files(out, tmp_path / "in", 256 * MIB)


def test_a_fork_with_a_page_of_its_own_costs_32_kib_at_most(golden, figure):
    """Each fork gets a write. It costs a page, and the tables above it."""
    before = golden.stat()["memoryUsed"]
    golden.run("fork", "golden", *THOUSAND)
    for index, name in enumerate(THOUSAND):
        wire = golden.go(name)
        wire.write(index * 4096, struct.pack(">Q", index) * 512)
        wire.close()
    for index, name in list(enumerate(THOUSAND))[::13]:
        wire = golden.go(name)
        assert wire.read(index * 4096, 8) == struct.pack(">Q", index)
        wire.close()
    each = (golden.stat()["memoryUsed"] - before) // 1000
    figure(f"with one page written to each of 1000 forks: {each} bytes each")
    assert each <= 32768


def test_10_000_forks_are_all_listed_and_leave_no_memory(golden):
    """Made by ten calls, since the names must fit on a command line. All are listed with
    figures."""
    batches = [[f"vm{number}" for number in range(at, at + 1000)] for at in range(1, 10_000, 1000)]
    before = golden.stat()["memoryUsed"]
    for batch in batches:
        golden.run("fork", "golden", *batch)
    assert len(golden.names()) == 10_001
    lines = golden.run("list").stdout.splitlines()
    assert sum(line.startswith("vm") and line.endswith(" golden") for line in lines) == 10_000
    assert (golden.stat()["memoryUsed"] - before) // 10_000 <= 16384
    golden.remove("golden")
    for batch in batches:
        golden.remove(*batch)
    eventually(lambda: golden.stat()["memoryUsed"] <= MIB, "no disks use 1 MiB at most")
