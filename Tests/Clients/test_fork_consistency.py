"""Forks, resets, exports and forks by connecting are made while writers write. Each must be a
prefix of its disk's history, byte for byte. `make storms` runs it for longer (STORM=1, SEED=)."""

import os
import random
import threading

import pytest

from support.history import BLOCK, History, stamp
from support.wire import FLUSH

BLOCKS = 512
WHOLE = "STORM" in os.environ


class Writer(threading.Thread):
    """Writes stamps to random blocks, over several connections in turn."""

    def __init__(self, server, disk, seed, connections):
        super().__init__(daemon=True)
        self.disk, self.history, self.failure = disk, History(BLOCKS), None
        self.chance = random.Random(seed)
        self.wires = [server.go(disk) for _ in range(connections)]
        self.stopped = threading.Event()

    def run(self):
        history = self.history
        try:
            while not self.stopped.is_set():
                number, place = len(history.places) + 1, self.chance.randrange(BLOCKS)
                history.places.append(place)
                wire = self.wires[number // 16 % len(self.wires)]
                wire.write(place * BLOCK, stamp(number))
                if number % 16 == 15:
                    assert wire.error(FLUSH) == 0
                history.done = number
        except Exception as failure:
            self.failure = failure

    def end(self):
        self.stopped.set()
        self.join(30)
        assert not self.is_alive(), "the writer ends"
        if self.failure:
            raise self.failure


def checked(writer, make):
    """Makes a copy with make(), which returns its contents, or a function that reads them later.
    Returns how many writes it holds."""
    least = writer.history.done
    data = make()
    most = len(writer.history.places)
    return writer.history.prefix_of(data() if callable(data) else data, least, most)


def contents(server, name):
    wire = server.go(name)
    data = wire.read(0, BLOCKS * BLOCK)
    wire.close()
    return data


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.deadline(900 if WHOLE else 100)
def test_every_copy_is_a_prefix_of_what_was_written(server, tmp_path, connections, figure):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    chance = random.Random(seed)
    one = server(create=[f"disk{index}={BLOCKS * BLOCK}" for index in range(2)])
    writers = [Writer(one, f"disk{index}", chance.random(), connections) for index in range(2)]
    figure(f"SEED={seed}")
    for writer in writers:
        writer.start()
    made = {}
    try:
        for step in range(600 if WHOLE else 40):
            writer, name = chance.choice(writers), f"copy{step}"
            kind = chance.choice(["fork", "reset", "export", "connect", "anonymous"])

            def fork():
                one.run("fork", writer.disk, name)
                return lambda: contents(one, name)

            def export():
                one.run("export", writer.disk, tmp_path / "image")
                return (tmp_path / "image").read_bytes()

            def connect():
                wire = one.go(f"{writer.disk}@" + (name if kind == "connect" else ""))
                return lambda: wire.read(0, BLOCKS * BLOCK)

            make = {"export": export, "connect": connect, "anonymous": connect}.get(kind, fork)
            k = checked(writer, make)
            if kind == "reset":
                wire = one.go(name)
                for place in chance.sample(range(BLOCKS), 50):
                    wire.write(place * BLOCK, stamp(1 << 40))
                wire.close()
                one.run("reset", name)
                again = writer.history.prefix_of(contents(one, name), k, k)
                assert again == k, "a reset takes a fork back to its start"
            if kind in ("fork", "reset", "connect"):
                # It is the same after many more writes to its origin.
                assert writer.history.prefix_of(contents(one, name), k, k) == k
                for wire in one.wires:
                    if all(wire not in other.wires for other in writers):
                        wire.close()
                if chance.random() < 0.7:
                    one.remove(name)
            made[kind] = made.get(kind, 0) + 1
    finally:
        for writer in writers:
            writer.end()
    for writer in writers:
        total = writer.history.done
        assert writer.history.prefix_of(contents(one, writer.disk), total, total) == total
    figure(f"{made} while {sum(writer.history.done for writer in writers)} blocks were written")


# The checker itself must be able to fail.


@pytest.fixture
def history():
    """Writes 1, 2, 3, 4 to the blocks 0, 1, 0, 2."""
    made = History(4)
    made.places, made.done = [0, 1, 0, 2], 4
    return made


def copy(*numbers):
    return b"".join(map(stamp, numbers))


@pytest.mark.parametrize("k, numbers", [
    (0, (0, 0, 0, 0)), (1, (1, 0, 0, 0)), (2, (1, 2, 0, 0)), (3, (3, 2, 0, 0)), (4, (3, 2, 4, 0))])
def test_the_checker_takes_each_prefix(history, k, numbers):
    assert history.prefix_of(copy(*numbers), 0, 4) == k


@pytest.mark.parametrize("numbers, least, most, message", [
    ((1, 2, 4, 0), 0, 4, "no prefix"),  # a later write without an earlier one
    ((3, 0, 0, 0), 0, 4, "no prefix"),
    ((3, 2, 0, 4), 0, 4, "no prefix"),  # in the wrong block
    ((5, 2, 4, 0), 0, 4, "after 4 writes"),
    ((3, 2, 0, 0), 4, 4, "were acknowledged"),
    ((3, 2, 4, 0), 0, 3, "had begun"),
])
def test_the_checker_refuses_what_is_no_prefix(history, numbers, least, most, message):
    with pytest.raises(AssertionError, match=message):
        history.prefix_of(copy(*numbers), least, most)


def test_the_checker_refuses_a_torn_block(history):
    data = bytearray(copy(3, 2, 4, 0))
    data[4095] ^= 1
    with pytest.raises(AssertionError, match="torn"):
        history.prefix_of(bytes(data), 0, 4)
