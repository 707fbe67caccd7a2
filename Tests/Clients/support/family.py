"""A disk and its forks, a client that uses them, and what it knows of them. It is told what was carried out;
when the server is killed, one operation at most is open."""

import random
import struct

from support.http import API
from support.wire import ENOMEM, ENOSPC, TRIM, WRITE, WRITE_ZEROES

PAGE = 4096


# The low bytes of the numbers from 0 on, which are enough for a disk of 256 MiB.
NUMBERS = [bytes(number >> shift & 0xFF for number in range(1 << 20)) for shift in (0, 8, 16)]


def stamped(identity, sequence, offset, length):
    """Bytes that say which disk they are of, when they were written, and where they belong."""
    first = offset // 16
    count = (offset + length + 15) // 16 - first
    words = bytearray(16 * count)
    for at, byte in enumerate(struct.pack("<HHI", 0xB17E, identity, sequence & 0xFFFFFFFF)):
        words[at::16] = bytes([byte]) * count
    for at, column in enumerate(NUMBERS):
        words[8 + at::16] = column[first:first + count]
    return bytes(words[offset - first * 16:][:length])


class Wrong(AssertionError):
    pass


class Disk:
    def __init__(self, size):
        self.contents = bytearray(size)
        # What a reset restores; None if it is no fork.
        self.snapshot = None
        # An operation without an answer: an offset, and the bytes that were to be there.
        self.open = None
        # Contents that a command without an answer may have brought.
        self.other = None

    def settle(self, name, found):
        """Compares what the server has with what may be there, and takes it over."""
        if self.other is not None and found == self.other:
            self.contents = bytearray(found)
        if found != self.contents:
            self.compare(name, found)
            self.contents = bytearray(found)
        self.open = self.other = None

    def compare(self, name, found):
        if len(found) != len(self.contents):
            raise Wrong(f"{name}: {len(found)} bytes, and not {len(self.contents)}")
        offset, new = self.open or (0, b"")
        end = offset + len(new)
        for what, here, there in (("before", 0, offset), ("after", end, len(found))):
            if found[here:there] != self.contents[here:there]:
                at = next(place for place in range(here, there) if found[place] != self.contents[place])
                raise Wrong(f"{name}: byte {at}, {what} the operation in flight at {offset}+{len(new)}, is "
                            f"{bytes(found[at:at + 16]).hex()}, and not {bytes(self.contents[at:at + 16]).hex()}")
        # Each byte of the operation is the old one or the new one.
        old, part = self.contents[offset:end], found[offset:end]
        for at in range(0, len(part), PAGE):
            here = slice(at, at + PAGE)
            if part[here] in (old[here], new[here]):
                continue
            if any(byte not in both for byte, *both in zip(part[here], old[here], new[here])):
                raise Wrong(f"{name}: the page at {offset + at} has bytes that are neither old nor new")


class Family:
    """One thread's disks. `steps` of random operations, until the server is gone."""

    def __init__(self, number, size, seed):
        self.number, self.size, self.sequence = number, size, 0
        self.random = random.Random(f"{seed} {number}")
        self.root = f"root{number}"
        self.disks = {}
        # Names that may be there or not, with their disks.
        self.maybe = {}
        # A name that may have become another one.
        self.renaming = None
        # Operations, and those of them that found no memory.
        self.done = self.full = 0

    def begin(self, server):
        API(server).good("POST", "/v1/disks", {"name": self.root, "size": self.size})
        self.disks[self.root] = Disk(self.size)

    def run(self, server):
        """Operates until the server is gone."""
        wires = {}
        try:
            api = API(server)
            while True:
                self.step(server, api, wires)
                self.done += 1
        except (OSError, EOFError):
            pass
        except Exception as error:  # noqa: BLE001 - http.client has several for a server that is gone
            if type(error).__module__ != "http.client":
                raise
        finally:
            for wire in wires.values():
                wire.close()

    def step(self, server, api, wires):
        name = self.random.choice(sorted(self.disks))
        kind = self.random.choices(
            ["write", "trim", "zero", "fork", "reset", "remove", "rename", "describe"],
            [60, 8, 8, 8, 4, 6, 3, 3])[0]
        getattr(self, kind)(server, api, wires, name)

    # Requests

    def range(self):
        length = min(self.size, self.random.choice([1, 512, 4096, 5000, 65536, 300_000, 1 << 20, 2 << 20]))
        offset = self.random.randrange(self.size - length + 1)
        if self.random.random() < 0.6:
            offset -= offset % PAGE
        return offset, length

    def change(self, server, wires, name, request, new):
        offset, disk = new[0], self.disks[name]
        if name not in wires:
            wires[name] = server.go(name, structured=False)
        disk.open = new
        payload = new[1] if request == WRITE else b""
        error = wires[name].error(request, offset, len(new[1]), 0, payload)
        if error in (ENOSPC, ENOMEM):
            # In part, as a write that is killed.
            self.full += 1
            disk.settle(name, self.whole(wires[name]))
            return
        if error:
            raise Wrong(f"{name}: error {error}")
        disk.contents[offset:offset + len(new[1])] = new[1]
        disk.open = None

    def whole(self, wire):
        return b"".join(wire.read(at, min(8 << 20, self.size - at)) for at in range(0, self.size, 8 << 20))

    def write(self, server, api, wires, name):
        offset, length = self.range()
        self.sequence += 1
        self.change(server, wires, name, WRITE, (offset, stamped(self.number, self.sequence, offset, length)))

    def trim(self, server, api, wires, name):
        offset, length = self.range()
        self.change(server, wires, name, TRIM, (offset, bytes(length)))

    def zero(self, server, api, wires, name):
        offset, length = self.range()
        self.change(server, wires, name, WRITE_ZEROES, (offset, bytes(length)))

    # Commands

    def fork(self, server, api, wires, name):
        if len(self.disks) > 5:
            return self.remove(server, api, wires, name)
        self.sequence += 1
        names = [f"f{self.number}-{self.sequence}-{part}" for part in range(self.random.choice([1, 1, 3]))]
        for fork in names:
            self.maybe[fork] = disk = Disk(self.size)
            disk.contents = bytearray(self.disks[name].contents)
            disk.snapshot = bytes(disk.contents)
            disk.together = names
        status, answer = api("POST", f"/v1/disks/{name}/forks", {"names": names})
        forks = {fork: self.maybe.pop(fork) for fork in names}
        if status == 507:
            return
        if status >= 300:
            raise Wrong(f"fork of {name}: {answer}")
        self.disks.update(forks)

    def reset(self, server, api, wires, name):
        disk = self.disks[name]
        if disk.snapshot is None:
            return
        disk.other = disk.snapshot
        api.good("POST", f"/v1/disks/{name}/reset")
        disk.contents, disk.other = bytearray(disk.snapshot), None

    def remove(self, server, api, wires, name):
        if name == self.root:
            return
        if name in wires:
            wires.pop(name).close()
        disk = self.disks.pop(name)
        disk.together = [name]
        self.maybe[name] = disk
        while True:
            status, answer = api("DELETE", f"/v1/disks/{name}")
            # The server may not have noticed yet that its client is gone.
            if status == 409 and answer["code"] == "disk-in-use":
                continue
            if status >= 300:
                raise Wrong(f"remove {name}: {answer}")
            break
        del self.maybe[name]

    def rename(self, server, api, wires, name):
        if name == self.root:
            return
        self.sequence += 1
        new = f"r{self.number}-{self.sequence}"
        self.renaming = name, new
        api.good("POST", f"/v1/disks/{name}/rename", {"name": new})
        self.renaming = None
        self.disks[new] = self.disks.pop(name)
        if name in wires:
            wires[new] = wires.pop(name)

    def describe(self, server, api, wires, name):
        api.good("PATCH", f"/v1/disks/{name}", {"description": f"step {self.done}"})

    # After a kill

    def check(self, server, names):
        """Compares the disks of a new server with what may be there. `names` are all that it has."""
        if self.renaming:
            old, new = self.renaming
            if (old in names) == (new in names):
                raise Wrong(f"of {old} and {new}, one must be there")
            if new in names:
                self.disks[new] = self.disks.pop(old)
            self.renaming = None
        for name, disk in list(self.maybe.items()):
            there = [other in names for other in disk.together]
            if any(there) != all(there):
                raise Wrong(f"of {disk.together}, some are there and some are not")
            if name in names:
                self.disks[name] = disk
        self.maybe = {}
        for name, disk in self.disks.items():
            if name not in names:
                raise Wrong(f"{name} is gone")
            wire = server.go(name, structured=False)
            disk.settle(name, self.whole(wire))
            wire.close()
        return set(self.disks)
