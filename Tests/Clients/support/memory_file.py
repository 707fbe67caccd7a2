"""A memory file as bytes: where its roots, records, tables and data are, a copy of it, and damage.

The layout is that of `Sources/DiskDirectory/Layout.swift` and `Sources/Paging/Entry.swift`.
"""

import os
import struct

PAGE, MIB = 4096, 1 << 20
ROOTS, RECORDS, RECORD, FRAMES = PAGE, 4 * MIB, 2048, 260 * MIB
TABLE, HUGE = 4, 2


def data_of(path):
    """The parts of a sparse file with data: (offset, bytes)."""
    with open(path, "rb") as file:
        at, end = 0, os.path.getsize(path)
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                piece = os.pread(file.fileno(), min(4 * MIB, hole - at), at)
                yield at, piece
                at += len(piece)


class MemoryFile:
    def __init__(self, path):
        self.path, self.length = path, os.path.getsize(path)
        self.pieces = list(data_of(path))

    def restore(self):
        """Makes the file what it was."""
        with open(self.path, "r+b") as file:
            file.truncate(0)
            file.truncate(self.length)
            for at, piece in self.pieces:
                os.pwrite(file.fileno(), piece, at)

    def is_unchanged(self, changes):
        """Whether the file is what it was, but for (offset, byte) changes."""
        now = dict(data_of(self.path))
        was = {at: bytearray(piece) for at, piece in self.pieces}
        for place, byte in changes:
            for at, piece in was.items():
                if at <= place < at + len(piece):
                    piece[place - at] = byte
        pages = lambda pieces: {at + start: bytes(piece[start:start + PAGE]) for at, piece in pieces.items()
                                for start in range(0, len(piece), PAGE) if any(piece[start:start + PAGE])}
        return pages(now) == pages(was)

    def bytes(self, at, count):
        for start, piece in self.pieces:
            if start <= at < start + len(piece):
                return piece[at - start:at - start + count].ljust(count, b"\0")
        return bytes(count)

    def words(self, at, count):
        return struct.unpack(f"<{count}Q", self.bytes(at, 8 * count))

    # Where things are

    def roots(self):
        """The offsets of roots that name something, in use or not."""
        return [ROOTS + 8 * index for index, word in enumerate(self.words(ROOTS, 512)) if word]

    def records(self):
        """The offsets of all bytes of records that were ever written."""
        found = []
        for at in range(RECORDS, RECORDS + 64 * RECORD, RECORD):
            head = self.words(at, 3)
            if any(self.bytes(at, 64)):
                found += range(at, at + 24 + (head[2] & 0xFFFF or 200))
        return found

    def tables(self):
        """The offsets of all page tables that the roots name."""
        found = set()

        def look(word):
            at = FRAMES + (word >> 12 & 0xFFFFFFFF) * PAGE
            if word & 7 != TABLE or at in found:
                return
            found.add(at)
            for lower in self.words(at, 512):
                look(lower)

        for root in self.roots():
            look(self.words(root, 1)[0])
        return sorted(found)

    def entries(self):
        """The offsets of all entries of tables that name something."""
        return [at + 8 * index for at in self.tables() for index, word in enumerate(self.words(at, 512)) if word]

    def any(self, chance):
        """A place in the parts that have data, each as likely as the others."""
        spot = chance.randrange(sum(len(piece) for _, piece in self.pieces))
        for at, piece in self.pieces:
            if spot < len(piece):
                return at + spot
            spot -= len(piece)
        raise AssertionError

    # Damage

    def write(self, at, data):
        with open(self.path, "r+b") as file:
            os.pwrite(file.fileno(), data, at)
