"""A disk and its model: the value of each page, and the pages that a refused write leaves
unknown."""

import struct

from support.compare import same_bytes
from support.wire import DISC, ENOSPC, WRITE, WRITE_ZEROES

PAGE = 4096
SLOT = 512  # pages in 2 MiB
# So few slots of 2 MiB that operations meet. They are in two places far from each other.
SLOTS = [0, 1, 2, 3, 4, 5, 256, 257]


def page_of(value):
    """The contents of a page with that value. Every word has the value, so a mixture is found."""
    return struct.pack(">Q", value) * (PAGE // 8)


class ModelDisk:
    """`pages` has the value of each page that is not zeros. It has None for a page that a refused
    write may or may not have changed. `born` is the contents that a fork was made with."""

    def __init__(self, server, name, pages, born=None):
        self.name, self.pages, self.born = name, pages, born
        # Half of the disks have no structured replies. Their reads of holes map the zero page,
        # while the others get holes.
        self.wire = server.go(name, structured=sum(name.encode()) % 2 == 0)

    def close(self):
        self.wire.request(DISC)
        self.wire.is_closed()
        self.wire.close()

    def write(self, page, values):
        """Writes pages, and returns whether they fit. A refused write of several pages may have
        been done in part. A refused write of a single page has not been done."""
        data = b"".join(map(page_of, values))
        error = self.wire.error(WRITE, page * PAGE, len(data), 0, data)
        assert error in (0, ENOSPC), f"a write: error {error}"
        for index, value in enumerate(values, page):
            if not error:
                self.set(index, value)
            elif len(values) > 1 and self.pages.get(index, 0) != value:
                self.pages[index] = None
        return not error

    def set(self, page, value):
        if value:
            self.pages[page] = value
        else:
            self.pages.pop(page, None)

    def clear(self, command, page, count, flags=0):
        """Sends TRIM or WRITE_ZEROES. A refused request may have been done in part."""
        error = self.wire.error(command, page * PAGE, count * PAGE, flags)
        assert error in (0, ENOSPC), f"a trim or zeroes: error {error}"
        assert not error or command == WRITE_ZEROES, "a trim takes no memory"
        for index in range(page, page + count):
            if not error:
                self.set(index, 0)
            elif self.pages.get(index, 0) != 0:
                self.pages[index] = None

    def check(self, page, count):
        data = self.wire.read(page * PAGE, count * PAGE)
        for index in range(page, page + count):
            if self.pages.get(index, 0) is None:
                # The contents that are there now stay until something else is written.
                self.set(index, struct.unpack_from(">Q", data, (index - page) * PAGE)[0])
        values = [self.pages.get(index, 0) for index in range(page, page + count)]
        same_bytes(data, b"".join(map(page_of, values)), f"disk {self.name}", at=page * PAGE)

    def check_all(self):
        for slot in SLOTS:
            self.check(slot * SLOT, SLOT)
