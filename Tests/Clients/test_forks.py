"""Forks of forks, forks of a disk that is written to, resets, removals, and batches that are all or
nothing."""

import struct
import threading

import pytest

from support.compare import eventually, same_bytes
from support.wire import TRIM

MIB = 1 << 20
DEEP = 20


@pytest.fixture
def chain(server):
    """A chain of 20 forks. Each writes its own page over its parent's."""
    server = server(create="golden=10G")
    server.io("golden", "write -P 100 0 8M")
    parent = "golden"
    for depth in range(1, DEEP + 1):
        server.run("fork", parent, f"chain{depth}")
        parent = f"chain{depth}"
        server.io(parent, f"write -P {depth} {depth}M 4k")
    return server


@pytest.mark.parametrize("depth", [1, 7, 20])
def test_a_fork_of_forks_has_the_pages_of_all_above_it(chain, depth):
    for above in range(1, depth + 1):
        chain.io(f"chain{depth}", f"read -P {above} {above}M 4k")
    chain.io(f"chain{depth}", "read -P 100 8188k 4k")


@pytest.mark.parametrize("depth", [1, 7])
def test_a_fork_has_nothing_of_those_below_it(chain, depth):
    pattern = 100 if depth < 7 else 0
    chain.io(f"chain{depth}", f"read -P {pattern} {depth + 1}M 4k")


def test_the_origin_has_nothing_of_its_forks(chain):
    chain.io("golden", "read -P 100 0 8M", "read -P 0 8M 16M")


def test_the_last_fork_has_everything_when_its_parents_are_removed(chain):
    chain.remove("golden", *(f"chain{depth}" for depth in range(1, DEEP)))
    assert chain.names() == ["chain20"]
    chain.io("chain20", "read -P 100 0 1M", "read -P 100 8188k 4k",
             *(f"read -P {depth} {depth}M 4k" for depth in range(1, DEEP + 1)))


def test_no_memory_is_left_when_all_are_removed(chain):
    chain.remove(*chain.names())
    eventually(lambda: chain.stat()["memoryUsed"] <= MIB, "no disks use 1 MiB at most")


def test_forks_of_a_disk_that_is_written_to_are_a_moment_each(server, figure):
    """One client writes numbered pages in order, and waits for each answer. Meanwhile forks are
    made. Each fork must have all pages from 1 to some n, and n must be at least the last page that
    was acknowledged before the fork."""
    server = server(create="live=1G")
    acknowledged, stop, failures = [0], threading.Event(), []

    def write():
        try:
            wire, number = server.go("live"), 0
            while not stop.is_set() and number < 200_000:
                wire.write(4096 * number, struct.pack(">Q", number + 1) * 512)
                number += 1
                acknowledged[0] = number
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    floors = []
    for index in range(15):
        floors.append(acknowledged[0])
        server.run("fork", "live", f"live{index}")
    stop.set()
    thread.join()
    assert not failures, failures
    for index, floor in enumerate(floors):
        wire, data = server.go(f"live{index}"), bytearray()
        for at in range(0, 4096 * (acknowledged[0] + 2), 8 * MIB):
            data += wire.read(at, 8 * MIB)
        numbers = [struct.unpack_from(">Q", data, at)[0] for at in range(0, len(data), 4096)]
        count = numbers.index(0)
        assert numbers[:count] == list(range(1, count + 1))
        assert set(numbers[count:]) == {0}
        assert floor <= count <= acknowledged[0]
    figure(f"forks of a live disk hold {floors[0]} to {count} of {acknowledged[0]} pages")


@pytest.fixture
def work(server):
    """`work`, a fork of `base`, which has 8 MiB of sevens."""
    server = server(create="base=64M")
    server.io("base", "write -P 7 0 8M")
    server.run("fork", "base", "work")
    return server


def test_a_reset_is_seen_by_a_connected_client(work):
    wire = work.go("work")
    for _ in range(3):
        wire.write(0, b"\x08" * (16 * MIB))
        assert wire.error(TRIM, 6 * MIB, MIB) == 0
        work.run("reset", "work")
        same_bytes(wire.read(0, 8 * MIB), b"\7" * (8 * MIB))
        same_bytes(wire.read(8 * MIB, 8 * MIB), bytes(8 * MIB), at=8 * MIB)


def test_a_reset_goes_back_to_the_fork_not_to_what_the_origin_is_now(work):
    work.io("base", "write -P 9 0 8M")
    work.io("work", "write -P 8 0 8M")
    work.run("reset", "work")
    work.io("work", "read -P 7 0 8M")


def test_a_reset_needs_no_origin(work):
    work.io("base", "write -P 9 0 8M")
    work.remove("base")
    work.io("work", "write -P 8 0 8M")
    work.run("reset", "work")
    work.io("work", "read -P 7 0 8M")
    assert work.data("work") == 8 * MIB


def test_a_connected_disk_is_not_removed_nor_any_beside_it(work):
    wire = work.go("work")
    work.refused('disk "work" has 1 connected client', "remove", "base", "work")
    assert wire.read(0, 1) == b"\7"
    assert work.names() == ["base", "work"]


@pytest.mark.parametrize("reason, command", [
    ('disk "taken" exists already', ("fork", "a", "b", "c", "taken", "d")),
    ('disk "b" exists already', ("fork", "a", "b", "b")),
    ('disk "a" is not a fork', ("reset", "a"))], ids=["taken", "twice", "no-fork"])
def test_a_batch_that_cannot_be_is_not_done_by_halves(server, reason, command):
    server = server(create=("a=1G", "taken=1G"))
    server.refused(reason, *command)
    assert server.names() == ["a", "taken"]
