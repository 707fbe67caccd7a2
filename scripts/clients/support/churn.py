"""A day's worth of churn in minutes: random writes, trims, zeroes, forks, resets, drops of whole disks,
under a limit that moves, against a reference model. Seeded: the same seed does the same again.

    churn.py SECONDS SEED [STEPS]     needs $DIR, the server's directory, and $HUGEMEM

Everything is done by one thread, in one order, so that a failure is replayed by its seed and the
number of its step. The server's own threads, background reclaim above all, keep their own time, and
with it may vary what is refused; so each step has random numbers of its own, and one that went another
way changes no later one more than it must.
"""

import json
import random
import subprocess
import sys
import time

from wire import *

PAGE = 4096
DISK = 1 << 30
# Few enough slots of 2 MiB that operations meet, in two places far from each other.
SLOTS = [0, 1, 2, 3, 4, 5, 6, 7, 256, 257, 258, 259]
ZEROS = bytes(PAGE)
LIMITS = [24, 32, 48, 64, 96]  # MiB


def page_of(value):
    """What a page with that value holds: every word tells, and no two values look alike."""
    return struct.pack(">Q", value) * (PAGE // 8) if value else ZEROS


class Server:
    """The command line, and what it says of the whole."""

    def __init__(self):
        self.has_limit = " limit " in subprocess.run(
            [os.environ["HUGEMEM"], "help"], capture_output=True, text=True).stdout

    def run(self, *command):
        return subprocess.run([os.environ["HUGEMEM"], *command, "--directory", DIR],
                              capture_output=True, text=True)

    def do(self, *command):
        """Carries it out, or says that memory is full: False."""
        done = self.run(*command)
        if done.returncode == 0:
            return True
        assert "memory limit" in done.stderr, f"{' '.join(command)}: {done.stderr}"
        return False

    def stat(self):
        done = self.run("stat", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Disk:
    """A disk and its model: `pages` has the value of each page that is not zeros, None where a write
    was refused half-way and either may be there."""

    def __init__(self, name, pages, born=None):
        self.name, self.pages, self.born = name, pages, born
        # Every other disk without structured replies: its reads of holes map the zero page, where the
        # others are told of the hole.
        self.wire = Wire().go(name, structured=sum(name.encode()) % 2 == 0)

    def close(self):
        self.wire.request(DISC)
        self.wire.is_closed()
        self.wire.close()

    def write(self, page, values):
        """Whether it fitted. A refused write of several pages may have been done in part."""
        data = b"".join(page_of(value) for value in values)
        error = self.wire.error(WRITE, page * PAGE, len(data), 0, data)
        assert error in (0, ENOSPC), f"write: error {error}"
        for index, value in enumerate(values):
            if error:
                # One page is done or not done: not done.
                if len(values) > 1 and self.pages.get(page + index, 0) != value:
                    self.pages[page + index] = None
            else:
                self.set(page + index, value)
        return not error

    def set(self, page, value):
        if value:
            self.pages[page] = value
        else:
            self.pages.pop(page, None)

    def clear(self, command, page, count, flags=0):
        error = self.wire.error(command, page * PAGE, count * PAGE, flags)
        assert error in (0, ENOSPC), f"clear: error {error}"
        for index in range(page, page + count):
            if not error:
                self.set(index, 0)
            elif self.pages.get(index, 0) != 0:
                self.pages[index] = None

    def check(self, page, count):
        data = self.wire.read(page * PAGE, count * PAGE)
        for index in range(count):
            value = self.pages.get(page + index, 0)
            found = data[index * PAGE : (index + 1) * PAGE]
            if value is not None and found != page_of(value):
                words = sorted({struct.unpack_from(">Q", found, at)[0] for at in range(0, PAGE, 8)})
                raise AssertionError(
                    f"disk {self.name}, page {page + index}: holds {words[:4]}, should hold {value}")
            if value is None:
                # What is there now stays, until something else is written.
                (now,) = struct.unpack_from(">Q", found)
                if found == page_of(now):
                    self.set(page + index, now)

    def check_all(self):
        for slot in SLOTS:
            self.check(slot * 512, 512)


class Churn:
    def __init__(self, seed):
        self.seed, self.random, self.server = seed, random.Random(seed), Server()
        self.disks, self.names, self.value, self.step = [], 0, 0, 0
        self.counts = {}
        self.create()

    # Operations: each chooses by `self.random` alone, never by time.

    def fresh(self):
        self.value += 1
        return self.value

    def name(self):
        self.names += 1
        return f"churn{self.names}"

    def range(self):
        """A page and a count: mostly few, at times whole slots; never across the end of a slot run."""
        slot = self.random.choice(SLOTS)
        kind = self.random.random()
        if kind < 0.1:
            return slot * 512, 512
        page, count = self.random.randrange(512), self.random.choice([1, 1, 1, 2, 7, 32, 128])
        return slot * 512 + page, min(count, 512 - page)

    def write(self):
        disk, (page, count) = self.random.choice(self.disks), self.range()
        fits = disk.write(page, [self.fresh() for _ in range(count)])
        self.counts["refused"] = self.counts.get("refused", 0) + (not fits)

    def write_zeros(self):
        disk, (page, count) = self.random.choice(self.disks), self.range()
        disk.write(page, [0] * count)

    def write_mixed(self):
        """Pages of zeros among others: a huge frame that is hardly used."""
        disk, (page, count) = self.random.choice(self.disks), self.range()
        disk.write(page, [self.random.choice([0, 0, 0, self.fresh()]) for _ in range(count)])

    def trim(self):
        self.random.choice(self.disks).clear(TRIM, *self.range())

    def zeroes(self):
        self.random.choice(self.disks).clear(
            WRITE_ZEROES, *self.range(), self.random.choice([0, NO_HOLE]))

    def read(self):
        self.random.choice(self.disks).check(*self.range())

    def create(self):
        if len(self.disks) < 8:
            name = self.name()
            if self.server.do("create", name, "--size", str(DISK)):
                self.disks.append(Disk(name, {}))

    def fork(self):
        if len(self.disks) < 8:
            origin, name = self.random.choice(self.disks), self.name()
            # The fork's unknown pages would be its origin's: known first, or both could be either.
            origin.check_all()
            if self.server.do("fork", origin.name, name):
                self.disks.append(Disk(name, dict(origin.pages), born=dict(origin.pages)))

    def reset(self):
        forks = [disk for disk in self.disks if disk.born is not None]
        if forks:
            disk = self.random.choice(forks)
            if self.server.do("reset", disk.name):
                disk.pages = dict(disk.born)

    def remove(self, disk=None):
        if disk or len(self.disks) > 2:
            disk = disk or self.random.choice(self.disks)
            self.disks.remove(disk)
            disk.close()
            self.removed(disk.name)

    def removed(self, name):
        # The server notices in its own time that the client is gone.
        for _ in range(100):
            done = self.server.run("remove", name)
            if done.returncode == 0:
                return
            assert "connected client" in done.stderr, done.stderr
            time.sleep(0.02)
        raise AssertionError(f"disk {name} cannot be removed: {done.stderr}")

    def limit(self):
        mib = self.random.choice(LIMITS)
        if self.server.has_limit:
            # Below what is used it may be refused; then it is what it was.
            self.server.run("limit", f"{mib}M")

    def shrink(self):
        self.server.run("shrink")

    def verify(self):
        for disk in self.disks:
            disk.check_all()

    WEIGHTS = {
        write: 400, write_zeros: 60, write_mixed: 60, trim: 150, zeroes: 60, read: 200,
        create: 3, fork: 6, reset: 4, remove: 6, limit: 6, shrink: 2, verify: 2,
    }

    def run(self, seconds, steps):
        operations, weights = list(self.WEIGHTS), list(self.WEIGHTS.values())
        end = time.monotonic() + seconds
        while (self.step < steps) if steps else (time.monotonic() < end):
            self.step += 1
            self.random = random.Random(f"{self.seed}/{self.step}")
            self.operation = self.random.choices(operations, weights)[0]
            self.counts[self.operation.__name__] = self.counts.get(self.operation.__name__, 0) + 1
            self.operation(self)
        self.step += 1
        self.operation = Churn.verify
        self.verify()

    def drop(self):
        """Everything is dropped: figures are what they were without disks."""
        self.step += 1
        self.operation = Churn.drop
        while self.disks:
            self.remove(self.disks[-1])


def settled(server, what, condition, seconds=10):
    """The first status with the condition; background reclaim has its time."""
    end = time.monotonic() + seconds
    while True:
        status = server.stat()
        if condition(status):
            return status
        assert time.monotonic() < end, f"{what}: {status}"
        time.sleep(0.05)


def main():
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    server = Server()
    before = settled(server, "nothing is used at first", lambda status: status["memoryUsed"] == 0)
    churn = None
    try:
        churn = Churn(seed)
        churn.run(seconds, steps)
        used = server.stat()
        churn.drop()
        after = settled(server, "frames in use after everything was dropped",
                        lambda status: status["memoryUsed"] == 0 and status["zeroPageReferences"] == 0)
        # 4 MiB for what the program keeps for itself: stacks and buffers of threads that are gone.
        grown = 4 << 20
        after = settled(server, "resident memory after everything was dropped",
                        lambda status: status["residentMemory"] <= before["residentMemory"] + grown)
        counters = {counter["name"]: counter["value"] for counter in after["counters"]}
        assert counters["thp_zero_page_alloc"] == counters["thp_zero_page_free"], counters
    except BaseException as error:
        step = churn.step if churn else 0
        doing = churn.operation.__name__ if churn and step else "the start"
        print(f"churn: seed {seed}, step {step} ({doing}): {type(error).__name__}: {error}")
        print(f"churn: replay with: make churn SEED={seed} STEPS={max(1, step)}")
        sys.exit(1)
    done = ", ".join(f"{count} {name}" for name, count in sorted(churn.counts.items()))
    print(f"figure:seed {seed}, {churn.step} steps: {done}")
    moved = "it moved" if server.has_limit else "it did not move: there is no `hugemem limit`"
    print(f"figure:at the end {used['memoryUsed'] / 2 ** 20:.1f} MiB used, limit {used['memoryLimit'] >> 20} MiB"
          f" ({moved}); dropped: 0, resident {(after['residentMemory'] - before['residentMemory']) / 2 ** 20:+.1f} MiB")


if __name__ == "__main__":
    main()
