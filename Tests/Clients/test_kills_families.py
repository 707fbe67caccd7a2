"""Families of disks, each with one client that knows what all of them hold, and a server that is killed while it
writes, trims, forks, resets, renames and removes, with little memory: what was answered is there, what was
not is there, or not, or in part, and no memory is lost.

KILLS= is the number of kills, SEED= repeats the operations; the moments of the kills are the machine's."""

import os
import random
import subprocess
import threading
import time

import pytest

from support.compare import eventually
from support.family import PAGE, Disk, Family, Wrong, stamped
from support.keeper import Keeper
from support.server import BINARY, Server

MIB = 1 << 20
KILLS = int(os.environ.get("KILLS") or 25)
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
SIZE = 12 * MIB
# Less than what the disks of all clients could take.
MEMORY = "32M"


@pytest.fixture
def lineage(tmp_path):
    """start(): a server on the memory of the one before it. The keeper ends with the test."""
    directory = tmp_path / "server"
    servers = []

    def start(*options):
        servers.append(Server(directory, "--survive", "--memory", MEMORY, *options))
        return servers[-1]

    start.directory = directory
    yield start
    for server in servers:
        server.kill()
    subprocess.run([BINARY, "keeper", "end", "--directory", str(directory)], capture_output=True)


def die_while_starting(directory, seconds):
    """A server that is killed in its recovery, or before or after that."""
    process = subprocess.Popen(
        [BINARY, "serve", "--directory", str(directory), "--survive", "--memory", MEMORY],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


def work(families, server, failures):
    def run(family):
        try:
            family.run(server)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(family,)) for family in families]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.deadline(max(600, 10 * KILLS))
def test_nothing_that_was_answered_is_lost(lineage, figure):
    order = random.Random(SEED)
    server = lineage()
    server.run("tune", "khugepaged/scan_sleep_millisecs=10")
    families = [Family(number, SIZE, SEED) for number in range(4)]
    for family in families:
        family.begin(server)
    in_recovery = of_keepers = 0
    for kill in range(KILLS):
        failures = []
        threads = work(families, server, failures)
        time.sleep(order.choice([0.05, 0.3, 0.6]) * order.random())
        if kill % 10 == 7:
            # The server starts another keeper. From then on the memory is safe again.
            keeper = Keeper(lineage.directory)
            ended = keeper.process
            os.kill(ended, 9)
            of_keepers += 1
            eventually(lambda: keeper.command("status", check=False).returncode == 0 and keeper.process != ended,
                       "there is another keeper")
        server.kill()
        for thread in threads:
            thread.join()
        assert not failures, f"SEED={SEED} kill {kill}: {failures[0]!r}"
        while order.random() < 0.4:
            die_while_starting(lineage.directory, 0.1 * order.random())
            in_recovery += 1
        server = lineage()
        server.run("tune", "khugepaged/scan_sleep_millisecs=10")
        names = set(server.names())
        try:
            known = set().union(*(family.check(server, names) for family in families))
        except Wrong as wrong:
            raise AssertionError(f"SEED={SEED} kill {kill}: {wrong}") from None
        assert names == known, "no other disks"
        log = server.log.read_text()
        assert "damaged" not in log and "Fatal" not in log, log
    # All memory is accounted for: with the last disk it is all free.
    for family in families:
        server.remove(*family.disks)
    server.run("shrink")
    eventually(lambda: server.stat()["memoryUsed"] == 0, "all memory is free")
    done, full = (sum(getattr(family, count) for family in families) for count in ("done", "full"))
    figure(f"SEED={SEED}: {KILLS} kills, {done} operations, {full} without memory; {in_recovery} more kills while starting, {of_keepers} of keepers")


def test_the_checker_finds_what_is_wrong():
    """Each wrong outcome is refused, and each right one is not."""
    disk = Disk(8 * PAGE)
    disk.contents[:] = stamped(1, 1, 0, 8 * PAGE)
    new = stamped(1, 2, 5000, 9000)

    def outcome(change):
        checked = Disk(8 * PAGE)
        checked.contents[:] = disk.contents
        checked.open = (5000, new)
        found = bytearray(disk.contents)
        change(found)
        checked.settle("disk", bytes(found))

    def put(data, offset):
        return lambda found: found.__setitem__(slice(offset, offset + len(data)), data)

    for good in (lambda found: None, put(new, 5000), put(new[:100], 5000), put(new[5000:], 10000)):
        outcome(good)
    for wrong in (
        put(b"\xff", 4999), put(b"\xff", 14000), put(stamped(2, 1, 8192, 16), 8192), put(bytes(100), 6000),
        put(stamped(1, 1, 0, 16), 8192), lambda found: found.pop(),
    ):
        with pytest.raises(Wrong):
            outcome(wrong)
    family = Family(0, 8 * PAGE, 1)
    for number in range(2):
        lost = Disk(8 * PAGE)
        lost.together = ["a", "b"]
        family.maybe["ab"[number]] = lost
    with pytest.raises(Wrong, match="some are there"):
        family.check(None, {"a"})
    family = Family(0, 8 * PAGE, 1)
    family.disks["gone"] = Disk(8 * PAGE)
    with pytest.raises(Wrong, match="is gone"):
        family.check(None, set())
