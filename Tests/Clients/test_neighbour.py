"""A server and a neighbour in one control group of 256 MiB. The neighbour takes memory and gives it
back, step by step, while clients write. The server's limit follows what is left. The kernel kills
nothing, and no acknowledged write is lost."""

import subprocess
import sys
import threading

import pytest

from support.blocks import MIB, Blocks
from support.compare import eventually

PIECE = 64 << 10

# Reads numbers of MiB, holds as much memory, and prints what it holds. Ends at the end of its
# input.
HOLDER = """
import sys, time
held = []
for line in sys.stdin:
    wanted = int(line)
    while len(held) < wanted:
        held.append(bytearray(b"\\1" * (1 << 20)))
        time.sleep(0.02)
    del held[wanted:]
    print(len(held), flush=True)
"""


class Neighbour:
    def __init__(self, group):
        self.process = subprocess.Popen([*group.launcher(), sys.executable, "-c", HOLDER],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hold(0)

    def hold(self, mib):
        self.process.stdin.write(f"{mib}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{mib}\n", "the neighbour was killed"

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


class Rewriter:
    """A client that rewrites 20 MiB without a pause. It has its memory already, so it is never
    refused."""

    def __init__(self, server):
        self.blocks, self.stopping, self.failures = Blocks(server, "rewritten", PIECE), threading.Event(), []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            number = 0
            while not self.stopping.is_set():
                assert self.blocks.write(number % 320), "a block that was there already was refused"
                number += 1
        except BaseException as failure:
            self.failures.append(failure)

    def end(self):
        self.stopping.set()
        self.thread.join()
        assert not self.failures, self.failures
        self.blocks.check()


def fill(blocks, mib):
    """Writes up to so many MiB in all, or as many as fit. Returns how many there are then."""
    for index in range(mib * MIB // PIECE):
        if index not in blocks.versions and not blocks.write(index):
            break
    return blocks.mib


@pytest.mark.deadline(300)
def test_a_neighbour_takes_and_gives_back_memory_and_the_limit_follows(group, server, figure):
    group = group(256 * MIB)
    server = server(create=("data=10G", "rewritten=1G"), launcher=group.launcher())
    neighbour, rewriter, taker = Neighbour(group), Rewriter(server), Blocks(server, "data", PIECE)

    def limit():
        return server.stat()["memoryLimit"] >> 20

    limits, tight, wide = [limit()], [], []
    try:
        for size in (60, 40, 60):
            # Trimmed memory goes back to the system, where the neighbour can take it.
            for index in [index for index in taker.versions if index >= 80 * MIB // PIECE]:
                taker.trim(index, 1)
            eventually(lambda: group.used() < 170 * MIB, "what was trimmed has left the group")
            neighbour.hold(size)
            # The limit falls by at least half of what the neighbour took.
            eventually(lambda: limit() <= limits[0] - size // 2, "the limit falls")
            limits.append(limit())
            # Write more than there is beside the neighbour. The kernel would kill if the limit had
            # not followed.
            tight.append(fill(taker, 240))
            taker.check()
            neighbour.hold(0)
            low = limits[-1]
            eventually(lambda: limit() >= low + size // 2, "the limit rises")
            limits.append(limit())
            # More data fits as the limit rises. The client keeps trying.
            eventually(lambda: fill(taker, 240) >= tight[-1] + size // 3, "more fits without the neighbour", pause=0.2)
            wide.append(taker.mib)
            taker.check()
    finally:
        rewriter.end()
    neighbour.end()
    group.nobody_killed(server)
    figure(f"beside a neighbour of 60, 40, 60 MiB: {tight} MiB of data fit; without it {wide}")
    figure(f"the limit was {limits[0]} MiB at first, then {limits[1:]}")
