"""A memory file in which bits have flipped: it is refused in a sentence, or served. Then each page of each
disk has its own bytes, or zeros, or what flipped in them. No disk is damaged that no flipped bit belongs to,
none comes back that was removed, all can be written, and nothing is used twice.

FLIPS= is the number of damaged files; `make memory-fuzz` makes a thousand. SEED= repeats them.
"""

import os
import random
import re
import time

import pytest

from support.compare import same_bytes
from support.durable import owner, stamped
from support.memory_file import PAGE, MemoryFile
from support.server import Server
from support.survivor import CRASH

MIB = 1 << 20
FLIPS = int(os.environ.get("FLIPS") or 30)
SIZE = 6 * MIB
REFUSED = re.compile(r"is no memory of hugemem|the memory is damaged and was left as it is|the memory has format", re.I)


class Made:
    """Disks of three lineages, each with its own stamps, and others that were removed."""

    def __init__(self, one):
        self.one, self.wanted, self.lineage = one, {}, {}
        one.run("create", "secret", "--size", str(SIZE))
        one.write("secret", 0, stamped(99, 1, 0, SIZE))
        one.run("create", "passing", "--size", str(SIZE))
        one.write("passing", MIB, stamped(98, 1, MIB, MIB))
        for lineage in range(3):
            name = f"golden{lineage}"
            self.make(name, lineage, bytes(SIZE))
            self.write(name, 0, 5 * MIB, 1)
            one.run("fork", name, f"one{lineage}", f"two{lineage}")
            for fork in (f"one{lineage}", f"two{lineage}"):
                self.make(fork, lineage, self.wanted[name])
            self.write(f"one{lineage}", MIB + 1000, 9000, 2)
            self.write(f"two{lineage}", 5 * MIB - 5000, 300_000, 3)
            if lineage == 1:
                # Their frames are used again, in part.
                one.remove("secret")
        one.run("fork", "passing", "gone1", "gone2")
        one.remove("passing", "gone1", "gone2")
        one.run("set", "two1", "--description", "changed, so that there is an old record")

    def make(self, name, lineage, contents):
        if name.startswith("golden"):
            self.one.run("create", name, "--size", str(SIZE))
        self.wanted[name], self.lineage[name] = bytes(contents), lineage

    def write(self, name, at, length, number):
        data = stamped(self.lineage[name] + 1, number, at, length)
        self.one.write(name, at, data)
        self.wanted[name] = self.wanted[name][:at] + data + self.wanted[name][at + length:]

    def check(self, bits, injected):
        """Looks at all disks that there are. Returns the pages that are not as they were. `injected` are pages
        that were put into the file."""
        there = self.one.names()
        assert set(there) <= set(self.wanted), f"disks that were removed: {set(there) - set(self.wanted)}"
        damaged = {self.lineage[name] for name in self.wanted if name not in there}
        self.now, pages = {}, 0
        for name in there:
            found, wanted = self.one.read(name, 0, SIZE), self.wanted[name]
            self.now[name] = found
            for at in range(0, SIZE if found != wanted else 0, PAGE):
                got, right = found[at:at + PAGE], wanted[at:at + PAGE]
                if got == right:
                    continue
                pages += 1
                damaged.add(self.lineage[name])
                if not any(got) or got in injected:
                    continue
                wrong = (int.from_bytes(got, "little") ^ int.from_bytes(right, "little")).bit_count()
                first = next(index for index in range(PAGE) if got[index] != right[index])
                assert wrong <= bits, (
                    f"{name}, page {at // PAGE}: {wrong} bits are wrong, {bits} were flipped; byte {first} is of "
                    f"{owner(got, first)}, should be of {owner(right, first)}")
        assert len(damaged) <= bits or injected, f"{len(damaged)} lineages are damaged by {bits} bits"
        return pages + len(self.wanted) - len(there)

    def can_be_used(self, chance):
        """Writes to every disk, and looks whether anything else changes."""
        for number, name in enumerate(self.now):
            for at in (chance.randrange(SIZE - 70_000), SIZE - 4096, 0):
                data = stamped(1000 + number, 1, at, 70_000 if 0 < at < SIZE - 70_000 else 4096)
                self.one.write(name, at, data)
                self.now[name] = self.now[name][:at] + data + self.now[name][at + len(data):]
        for name, wanted in self.now.items():
            same_bytes(self.one.read(name, 0, SIZE), wanted, name)


def damage(memory, chance):
    """Flips bits. Returns the target, the number of bits, the pages put in, and each changed byte."""
    target = chance.choice(["header", "roots", "records", "records", "entries", "entries", "entries", "anywhere", "a page", "a table"])
    places = {"header": lambda: range(88), "roots": lambda: [root + byte for root in memory.roots() for byte in range(8)],
              "records": memory.records,
              "entries": lambda: [entry + byte for entry in memory.entries() for byte in range(8)]}.get(target)
    if target in ("a page", "a table"):
        at = memory.any(chance) // PAGE * PAGE if target == "a page" else chance.choice(memory.tables())
        page = chance.choice([chance.randbytes(PAGE), memory.bytes(memory.any(chance) // PAGE * PAGE, PAGE), b"\xff" * PAGE])
        memory.write(at, page)
        return f"{target} at {at}", 8 * PAGE, [page], [(at + index, byte) for index, byte in enumerate(page)]
    spots = places() if places else None
    bits, changed = chance.choice([1, 1, 1, 2, 3, 16]), {}
    for _ in range(bits):
        at = chance.choice(spots) if spots else memory.any(chance)
        changed[at] = changed.get(at, memory.bytes(at, 1)[0]) ^ 1 << chance.randrange(8)
    for at, byte in changed.items():
        memory.write(at, bytes([byte]))
    return f"{target}: {[f'{at:#x}' for at in changed]}", bits, [], list(changed.items())


def started(one):
    """Starts a server on damaged memory. Returns whether it serves; else it has refused it."""
    server = Server(one.directory, *one.options, waits=False)
    end = time.monotonic() + 60
    while not server.is_ready() and server.process.poll() is None:
        assert time.monotonic() < end, f"neither ready nor refused after 60 s\n{server.log.read_text()}"
        time.sleep(0.005)
    log = server.log.read_text(errors="replace")
    assert not CRASH.search(log), log[-4000:]
    if server.process.poll() is None:
        one.server = server
        return True
    assert server.process.returncode == 1, f"it ended with {server.process.returncode}\n{log[-4000:]}"
    assert REFUSED.search(log), log
    return False


@pytest.mark.deadline(120 + 10 * FLIPS)
def test_flipped_bits(survivor, shared_memory, figure):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    figure(f"SEED={seed}")
    print(f"SEED={seed}")
    one = survivor(memory="96M", file=shared_memory / "memory")
    made = Made(one)
    one.kill()
    memory = MemoryFile(one.file)
    seen = {"refused": 0, "as it was": 0, "damaged": 0}
    for number in range(FLIPS):
        chance = random.Random(f"{seed} {number}")
        memory.restore()
        what, bits, injected, changes = damage(memory, chance)
        print(f"{number}: {bits} bits, {what}")
        if not started(one):
            seen["refused"] += 1
            assert memory.is_unchanged(changes), "it was left as it was"
            continue
        pages = made.check(bits, injected)
        seen["damaged" if pages else "as it was"] += 1
        made.can_be_used(chance)
        # What was damaged is mended: the next server finds nothing more, and the same bytes.
        one.again()
        assert "amaged" not in one.log.read_text(), one.log.read_text()
        for name, wanted in made.now.items():
            same_bytes(one.read(name, 0, SIZE), wanted, name)
        if made.now:
            one.run("remove", *made.now)
        assert one.in_use() == 0
        one.kill()
    figure(f"{FLIPS} damaged files: {seen}")
    memory.restore()
    one.start()
    assert made.check(0, []) == 0, "without damage, nothing is damaged"


def test_the_check_sees_a_page_of_another_disk(survivor, shared_memory):
    """Two data pages, of which each takes the place of the other."""
    one = survivor(memory="96M", file=shared_memory / "memory")
    made = Made(one)
    one.kill()
    memory = MemoryFile(one.file)
    pages = [next(at + start for at, piece in memory.pieces for start in range(0, len(piece), PAGE)
                  if piece[start:start + 4096] == stamped(lineage, 1, 100 * PAGE, PAGE)) for lineage in (1, 2)]
    memory.write(pages[0], memory.bytes(pages[1], PAGE))
    assert started(one)
    with pytest.raises(AssertionError, match="is of disk 2, request 1, page 100.*should be of disk 1"):
        made.check(8, [])
