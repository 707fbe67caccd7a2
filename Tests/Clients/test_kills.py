"""SIGKILL at random times, one memory through all of it: writers write, trim and zero, the administrator
forks, resets, removes, renames and resizes, and there is too little memory. Now and then the keeper is killed
first, or starts after it are. After each kill, every disk must be one that `support.durable` allows.

KILLS= is the number of kills; `make kills` makes a thousand. SEED= repeats what is sent, as far as threads
allow.
"""

import os
import random
import time

import pytest

from support.administrator import Administrator
from support.durable import Disk
from support.workers import Writer
from support.world import World

MIB = 1 << 20
KILLS = int(os.environ.get("KILLS") or 50)
MEMORY = "40M"


class Story:
    """A server with its disks and clients, through many kills."""

    def __init__(self, one, chance, writers=4):
        self.one, self.chance, self.world, self.writers = one, chance, World(), writers

    def tune(self):
        self.one.run("tune", "khugepaged/scan_sleep_millisecs=10", "khugepaged/max_ptes_none=64")

    def listed(self):
        return {disk["name"]: disk | {"readOnly": disk["isReadOnly"]} for disk in self.one.json("list")}

    def work(self, seconds, aim=None, replaces=False):
        """Clients work until the server is killed, after so many seconds or by the administrator. With
        `replaces`, its keeper is killed before."""
        seed = self.chance.randrange(1 << 32)
        workers = [Administrator(self.one, self.world, seed, aim)]
        workers += [Writer(self.one, self.world, seed + number) for number in range(1, self.writers + 1)]
        if replaces:
            self.one.replace_keeper()
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.one.process.poll() is None and not any(one.failure for one in workers):
            time.sleep(0.002)
        failures = [worker.failure for worker in workers if worker.failure]
        status = self.one.process.poll()
        assert status in (None, -9), f"the server ended with {status}"
        self.one.kill()
        for worker in workers:
            worker.stopping.set()
        if failures:
            raise failures[0]
        for worker in workers:
            worker.end()

    def check(self):
        self.world.check(self.listed(), lambda name, size: self.one.read(name, 0, size))


@pytest.mark.deadline(120 + 8 * KILLS)
def test_kills_at_any_time(survivor, figure):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    figure(f"SEED={seed}")
    chance = random.Random(seed)
    one = survivor(memory=MEMORY)
    story = Story(one, chance)
    for number in range(4):
        one.run("create", f"disk{number}", "--size", str(6 * MIB))
        story.world.add(Disk(f"disk{number}", 6 * MIB))
    print(f"SEED={seed}")
    starts = keepers = 0
    for kill in range(KILLS):
        story.tune()
        if chance.random() < 0.5:
            keepers += (replaces := chance.random() < 0.2)
            story.work(chance.choice([0.02, 0.1, 0.3, 0.6, 1]) * chance.random(), replaces=replaces)
        else:
            story.work(2, aim=chance.randrange(1, 20))
        while chance.random() < 0.3:
            one.start_and_kill(0.1 * chance.random())
            starts += 1
        one.start()
        story.check()
        if kill % 10 == 9:
            # What is in use is what the disks have: a kill without clients changes nothing.
            used = one.in_use()
            one.again()
            assert one.in_use() <= used
    world = story.world
    figure(f"{KILLS} kills, {starts} more of starts and {keepers} of keepers, {world.acknowledged} requests acknowledged, {world.refused} refused, {world.torn} pages changed "
           f"in part, undecided: {dict(sorted(world.undecided.items()))}")
    for name in one.names():
        one.remove(name)
    assert one.in_use() == 0, "memory in use without disks"
    one.again()
    assert one.names() == [] and one.in_use() == 0
