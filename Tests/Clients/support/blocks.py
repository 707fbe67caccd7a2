"""Blocks on a disk, each with its own contents, and which of them were acknowledged."""

import struct

from support.compare import noise, same_bytes
from support.wire import ENOSPC, TRIM, WRITE

MIB = 1 << 20
NOISE = noise(MIB)


class Blocks:
    def __init__(self, server, disk, length, seed=0):
        self.wire, self.length, self.seed = server.go(disk, timeout=300), length, seed
        self.versions = {}
        # Of a write that was refused, some pages may have been written.
        self.refused = set()

    def contents(self, index):
        return struct.pack(">QQQ", self.seed, index + 1, self.versions.get(index, 0)) + NOISE[: self.length - 24]

    def write(self, index):
        """Writes a block, and returns whether it was acknowledged."""
        before = self.versions.get(index)
        self.versions[index] = (before or 0) + 1
        error = self.wire.error(WRITE, index * self.length, self.length, 0, self.contents(index))
        assert error in (0, ENOSPC), error
        if error:
            self.refused.add(index)
            del self.versions[index]
            if before is not None:
                self.versions[index] = before
        return not error

    def fill(self, mib, first=0):
        """Writes up to so many MiB. After the first block that does not fit, tries a hundred more.
        Returns whether a block did not fit."""
        refused = 0
        for index in range(first, first + (mib << 20) // self.length):
            refused += not self.write(index)
            if refused > 100:
                break
        return refused > 0

    def trim(self, first, count):
        """Trims `count` blocks."""
        assert self.wire.error(TRIM, first * self.length, count * self.length) == 0
        for index in range(first, first + count):
            self.versions.pop(index, None)

    def check(self):
        for index in self.versions:
            found = self.wire.read(index * self.length, self.length)
            same_bytes(found, self.contents(index), f"block {index}, which was acknowledged", at=index * self.length)

    @property
    def mib(self):
        return len(self.versions) * self.length / MIB
