"""The life of the zero page, as `stat` shows it. Readers map it. When memory is short, it is freed
while they go on reading. When there is room again, they map it again. Memory that was never written
always reads as zeros."""

import re
from collections import namedtuple

import pytest

from support.compare import eventually, same_bytes
from support.readers import Readers
from support.wire import ENOSPC, TRIM, WRITE

MIB = 1 << 20
Life = namedtuple("Life", "references allocated freed")


@pytest.fixture
def disks(server):
    return server(memory="64M", create=("holes=1T", "full=10G"))


def now(server):
    """The references to the zero page, and the counters of its life."""
    status = server.stat()
    counters = {counter["name"]: counter["value"] for counter in status["counters"]}
    return Life(status["zeroPageReferences"], counters["thp_zero_page_alloc"], counters["thp_zero_page_free"])


def wait(server, condition, what):
    return eventually(lambda: (life := now(server)) and condition(life) and life, what)


def fill(wire, pattern=b"\7"):
    """Writes blocks of 4 KiB until twenty in a row do not fit. Returns the blocks that fit. Before
    a write is refused, the 2 MiB of the zero page are reclaimed as well."""
    block, refused, done = 0, 0, []
    while refused < 20:
        error = wire.error(WRITE, block << 12, 4096, 0, pattern * 4096)
        assert error in (0, ENOSPC)
        refused = refused + 1 if error else 0
        if not error:
            done.append(block)
        block += 1
        assert len(done) << 12 <= 64 * MIB, "more than the limit was written"
    return done


def empty(wire):
    for at in range(0, wire.size, 1 << 30):
        assert wire.error(TRIM, at, 1 << 30) == 0


def test_readers_of_holes_share_one_zero_page(disks, figure):
    assert now(disks).references == 0
    with Readers(disks, "holes") as readers:
        readers.go_on()
        life = now(disks)
        assert life.references > 1 and life.allocated == life.freed + 1
        readers.go_on()
        assert now(disks).allocated == life.allocated, "one page for all of them"
        assert re.search("^zero page +held by [1-9]", disks.run("stat").stdout, re.MULTILINE)
    figure(f"{sum(readers.reads)} reads of holes: one zero page, {life.references - 1} references on it")


def test_after_a_discard_nobody_holds_it_and_it_is_freed(disks):
    """A discard drops the references, and the shrinker frees the page."""
    with Readers(disks, "holes") as readers:
        readers.go_on()
    before = now(disks)
    assert disks.go("holes").error(TRIM, 0, 1 << 30) == 0
    after = wait(disks, lambda life: life.references == 0, "the zero page that nobody holds is freed")
    assert after == (0, before.allocated, before.freed + 1)
    assert re.search("^zero page +none now", disks.run("stat").stdout, re.MULTILINE)


def test_full_it_is_freed_while_readers_read_zeros_and_comes_back_once_there_is_room(disks, figure):
    """The server takes the page from its holders, and they go on reading."""
    with Readers(disks, "holes") as readers:
        readers.go_on()
        before = now(disks)
        assert before.references > 1 and before.allocated == before.freed + 1
        wire = disks.go("full")
        fitted = []

        def full_without_it():
            """When the page is freed after the last write, there is room for it to come back. So write again."""
            life = now(disks)
            fitted[:] = fill(wire)
            return life.references == 0 and now(disks) == life

        eventually(full_without_it, "the zero page that readers hold is freed, and its memory is data")
        figure(f"{len(fitted) * 4 / 1024:.1f} MiB of 64 are full of data beside readers of holes")
        for _ in range(20):
            readers.go_on()
        full = now(disks)
        # Its 2 MiB are data now. There is no room for it to come back, and no reader waits for it.
        assert full.references == 0
        for block in fitted[::61]:
            same_bytes(wire.read(block << 12, 4096), b"\7" * 4096, at=block << 12)
        # There is room again, so the next readers map it again.
        empty(wire)
        wait(disks, lambda life: life.references > 1 and life.allocated > full.allocated, "the zero page comes back")
        readers.go_on()


def test_it_is_freed_and_comes_back_six_times_over(disks, figure):
    """Repeated so that revocation meets every step of mapping."""
    with Readers(disks, "holes") as readers:
        readers.go_on()
        wire, before = disks.go("full"), now(disks)
        for round in range(6):
            held = wait(disks, lambda life: life.references > 1, "readers hold the zero page")
            fill(wire, bytes([round + 1]))

            def taken_away():
                # For a second after a reclaim that found nothing, the server tries no other. So the
                # client keeps trying.
                wire.error(WRITE, 9 << 30, 4096, 0, bytes([round + 1]) * 4096)
                return now(disks).freed > held.freed

            eventually(taken_away, "the zero page is taken away from its readers")
            readers.go_on()
            empty(wire)
            readers.go_on()
    after = now(disks)
    allocated, freed = after.allocated - before.allocated, after.freed - before.freed
    figure(f"6 rounds of full and empty: allocated {allocated}, freed {freed} times, "
           f"{sum(readers.reads)} reads of zeros")
    assert allocated >= 5 and freed >= 6
    assert after.allocated - after.freed == (after.references > 0)
