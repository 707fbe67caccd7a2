"""SIGKILL while a server starts and finds its disks again, several times in a row, and SIGKILL of the keeper
and of both."""

import os
import random
import signal
import time

import pytest

from support.compare import eventually, noise, same_bytes
from support.wire import WRITE

MIB = 1 << 20
ROUNDS = max(6, int(os.environ.get("KILLS") or 50) // 8)


@pytest.fixture
def chance(figure):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    figure(f"SEED={seed}")
    return random.Random(seed)


class Filled:
    """Many disks that share much, and what must be in them. `tables` pages lie so far from each other that each
    has a table of its own, which takes a start long."""

    def __init__(self, one, mib, tables):
        self.one, self.mib, self.tables = one, mib, tables
        one.run("create", "golden", "--size", f"{2 * mib}M")
        self.golden = noise(mib * MIB, 1)
        one.write("golden", 0, self.golden)
        one.run("create", "sparse", "--size", "1T")
        wire = one.go("sparse")
        for first in range(0, tables, 100):
            for number in range(first, first + 100):
                wire.request(WRITE, number * 2 * MIB, 16, payload=number.to_bytes(16, "big"))
            assert all(wire.reply().error == 0 for _ in range(100))
        one.leave(wire)
        names = [f"fork{number}" for number in range(40)]
        one.run("fork", "golden", *names)
        # A page here and there, so that many tables are shared in part.
        for number, name in enumerate(names):
            wire = one.go(name)
            for at in range(0, mib * MIB, 7 * MIB):
                wire.write(at + number * 8192, bytes([number + 1]) * 5000)
            one.leave(wire)
        one.run("limit", "fork1", "--reserve", "4M")
        one.run("remove", *names[30:])
        self.forks = names[:30]

    def check(self):
        assert self.one.names() == sorted([*self.forks, "golden", "sparse"])
        wire = self.one.go("sparse")
        for number in range(0, self.tables, 37):
            assert wire.read(number * 2 * MIB, 16) == number.to_bytes(16, "big"), number
        self.one.leave(wire)
        same_bytes(self.one.read("golden", 0, self.mib * MIB), self.golden, "golden")
        for number, name in enumerate(self.forks):
            if number % 7 and number != len(self.forks) - 1:
                continue
            wanted = bytearray(self.golden)
            for at in range(0, self.mib * MIB, 7 * MIB):
                wanted[at + number * 8192:at + number * 8192 + 5000] = bytes([number + 1]) * 5000
            same_bytes(self.one.read(name, 0, self.mib * MIB), bytes(wanted), name)


@pytest.mark.parametrize("tables", [100, 30_000])
@pytest.mark.deadline(200 + 10 * ROUNDS)
def test_kills_in_the_middle_of_a_start(survivor, chance, figure, tables):
    one = survivor(memory="512M")
    filled = Filled(one, 16, tables)
    used = one.in_use()
    one.kill()
    begin = time.monotonic()
    one.start()
    whole, got, kills = time.monotonic() - begin, {}, 0
    one.kill()
    for turn in range(ROUNDS):
        for _ in range(chance.choice([3, 5, 10])):
            far = one.start_and_kill(whole * (0.2 + chance.random()))
            got[far] = got.get(far, 0) + 1
            kills += 1
        if turn % 3 == 2 or turn == ROUNDS - 1:
            one.start()
            filled.check()
            assert one.in_use() <= used
            one.kill()
    figure(f"{kills} kills, {got}; a start takes {whole:.2f} s")
    one.start()
    one.remove("golden", "sparse", *filled.forks)
    assert one.in_use() == 0


def test_the_first_start_is_killed(survivor, chance):
    """The memory is new, or half made."""
    one = survivor(create="disk=1M")
    for _ in range(12):
        one.stop()
        one.keeper("end")
        one.start_and_kill(0.15 * (0.2 + chance.random()))
        one.start()
        assert one.names() == ["disk"] and one.read("disk", 0, 4096) == bytes(4096)
        one.write("disk", 0, b"x" * 4096)
        one.again()
        assert one.read("disk", 0, 4096) == b"x" * 4096


def test_the_keeper_is_killed(survivor):
    one = survivor(create="disk=64M")
    one.write("disk", 0, noise(MIB, 1))
    for turn in range(4):
        one.replace_keeper()
        one.write("disk", (turn + 1) * MIB, noise(MIB, turn + 2))
        one.again()
        for part in range(turn + 2):
            same_bytes(one.read("disk", part * MIB, MIB), noise(MIB, part + 1), "disk", at=part * MIB)
        assert len(one.keepers()) == 1


def test_the_keeper_is_killed_while_clients_write(survivor, chance):
    one = survivor(create="disk=64M")
    wire, done = one.go("disk"), 0
    for _ in range(5):
        for keeper in one.keepers():
            os.kill(keeper, signal.SIGKILL)
        end = time.monotonic() + chance.random() / 4
        while time.monotonic() < end and done < 64:
            assert wire.error(WRITE, done * MIB, MIB, 0, noise(MIB, done)) == 0
            done += 1
        eventually(lambda: len(one.keepers()) == 1 and one.keeper("status", check=False).returncode == 0, "a keeper answers")
    eventually(lambda: one.log.read_text().count("keeps the memory again") >= 5, "the server has the fifth one")
    one.again()
    for part in range(done):
        same_bytes(one.read("disk", part * MIB, MIB), noise(MIB, part), "disk", at=part * MIB)


def test_both_are_killed(survivor):
    """Then the memory is gone, and the next server says that it is new by having no disks."""
    one = survivor()
    one.run("create", "disk", "--size", "1M")
    (keeper,) = one.keepers()
    one.server.process.send_signal(signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    one.kill()
    one.start()
    assert one.names() == [] and one.in_use() == 0
    assert len(one.keepers()) == 1


def test_the_server_is_killed_before_it_has_another_keeper(survivor, chance):
    """Whatever comes first, the next server starts, with the disks or with none."""
    one = survivor()
    there = 0
    for _ in range(8):
        if "disk" not in one.names():
            one.run("create", "disk", "--size", "1M")
            one.write("disk", 0, b"d" * 4096)
        (keeper,) = eventually(one.keepers, "there is a keeper")
        os.kill(keeper, signal.SIGKILL)
        time.sleep(chance.random() / 50)
        one.again()
        if one.names() == ["disk"]:
            there += 1
            assert one.read("disk", 0, 4096) == b"d" * 4096
        else:
            assert one.names() == [] and one.in_use() == 0
