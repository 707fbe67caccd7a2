"""Knobs have the kernel's names. The most important one works: 4 KiB pages that fill their 2 MiB
become huge frames in the background, in whatever order they were written."""

import random
import re

import pytest

from support.compare import eventually, same_bytes

# Pages for 8 MiB, for 2 MiB without one page, and for 2 MiB that a fork shares.
DENSE, GAP, SHARED = range(2048), range(4096, 4096 + 511), range(8192, 8192 + 512)


@pytest.fixture
def data(server):
    server = server(create="data=1G")
    server.run("tune", "khugepaged/scan_sleep_millisecs=60000")
    return server


def knob(server, name):
    return {knob["name"]: knob["value"] for knob in server.json("tune")}[name]


def page(number):
    return bytes([number & 255 | 1]) * 4096


def test_knobs_are_shown(data):
    said = data.run("tune").stdout
    assert re.search(r"^enabled +collapse$", said, re.MULTILINE), said
    assert re.search(r"^khugepaged/max_ptes_none +0$", said, re.MULTILINE), said


def test_a_knob_is_set(data):
    assert str(knob(data, "khugepaged/scan_sleep_millisecs")) == "60000"


@pytest.mark.parametrize("settings, lines", [
    (["enabled=sometimes", "defrag=never"], ["sometimes", "madvise"]),
    (["speed=11"], ["speed", "use_zero_page"])], ids=["value", "name"])
def test_a_wrong_setting_changes_nothing_and_says_what_there_is(data, settings, lines):
    said = data.refused(lines[0], "tune", *settings)
    assert lines[1] in said
    assert knob(data, "defrag") == "madvise"


@pytest.fixture
def collapsed(data):
    """The dense data that the disk owns alone has become huge frames."""
    # The server may yet look around once after its start, so the background makes nothing at all
    # until the disks are as they should be.
    data.run("tune", "enabled=never")
    wire = data.go("data")
    pages = [*DENSE, *GAP, *SHARED]
    random.Random(1).shuffle(pages)
    for number in pages:
        wire.write(number << 12, page(number))
    data.run("fork", "data", "copy")
    for number in DENSE:
        wire.write(number << 12, page(number))
    # Let the background begin only now. Before the fork it would have collapsed what is shared now.
    data.run("tune", "enabled=collapse", "khugepaged/scan_sleep_millisecs=100")
    eventually(lambda: data.counter("thp_collapse_alloc") >= 4, "4 huge frames are made")
    # Wait twice until new data becomes a huge frame. By then the background has been through
    # everything else.
    data.run("create", "later", "--size", "4M")
    for huge in (0, 1):
        later = data.go("later")
        for number in range(512):
            later.write((huge << 21) + (number << 12), page(number))
        eventually(lambda: data.counter("thp_collapse_alloc") >= 5 + huge, "what came later is collapsed")
    return data


def test_dense_pages_of_a_disks_own_become_huge_frames_others_do_not(collapsed):
    assert collapsed.counter("thp_collapse_alloc") == 4 + 2
    assert collapsed.disk("data")["huge"] == 8 << 20
    assert collapsed.disk("copy")["huge"] == 0


@pytest.mark.parametrize("name", ["data", "copy"])
def test_the_contents_are_what_they_were(collapsed, name):
    wire = collapsed.go(name)
    for number in (*DENSE, *GAP, *SHARED):
        same_bytes(wire.read(number << 12, 4096), page(number), at=number << 12)
