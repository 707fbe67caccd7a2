"""What a disk must hold after its server was killed: all that was acknowledged, and of each request that
was not, nothing, all or a part.

Data is stamped: each 16 bytes say which disk, which request and which page they were written for. So a
failure names whose bytes it saw, be they another disk's or old ones.
"""

import struct
import threading

PAGE = 4096
STAMP = struct.Struct("<IIQ")


def stamped(disk, number, at, length):
    """The bytes of request `number` on a disk, for any range of bytes."""
    first = at // PAGE
    pages = range(first, (at + length + PAGE - 1) // PAGE)
    whole = b"".join(STAMP.pack(disk, number, page) * (PAGE // STAMP.size) for page in pages)
    return whole[at - first * PAGE:at - first * PAGE + length]


def owner(data, at):
    """Says whose the 16 bytes around an offset are."""
    at -= at % STAMP.size
    part = bytes(data[at:at + STAMP.size])
    if not any(part):
        return "zeros"
    if len(part) < STAMP.size:
        return part.hex()
    disk, number, page = STAMP.unpack(part)
    return f"disk {disk}, request {number}, page {page} ({part.hex()})"


class Request:
    """A change that was sent. `data` is None for a trim and for zeroes, and for a read."""

    def __init__(self, at, length, data, changes=True):
        self.at, self.length, self.end, self.changes = at, length, at + length, changes
        self.data = data if data is not None else bytes(length)

    def overlaps(self, at, end):
        return self.at < end and at < self.end


def check(found, sure, maybe, what):
    """Fails unless bytes are those that are sure, but for the ranges of requests that may have been carried
    out. Returns the number of pages that a request has changed in part.

    A server copies to small frames one after the other, so a request leaves one page half changed. A copy to a
    huge frame is one memcpy. For large ones, that of the C library takes four pages at a time, and the first and
    last bytes of all in the end.
    """
    assert len(found) == len(sure), f"{what}: {len(found)} bytes, should be {len(sure)}"
    if found == sure:
        return 0
    torn = 0
    for start in range(0, len(sure), PAGE):
        end = min(start + PAGE, len(sure))
        if found[start:end] == sure[start:end]:
            continue
        near = [request for request in maybe if request.overlaps(start, end)]
        edges = sorted({start, end, *(edge for one in near for edge in (one.at, one.end) if start < edge < end)})
        for begin, stop in zip(edges, edges[1:]):
            torn += part(found, sure, [one for one in near if one.overlaps(begin, stop)], begin, stop, what)
    assert torn <= 6 * len(maybe), f"{what}: {torn} pages are changed in part, by {len(maybe)} requests"
    return torn


def part(found, sure, near, begin, stop, what):
    """Checks bytes that each request covers wholly or not at all. Returns whether they are a mixture."""
    got = found[begin:stop]
    choices = [bytes(sure[begin:stop]), *(one.data[begin - one.at:stop - one.at] for one in near)]
    if got in choices:
        return False
    for index, byte in enumerate(got):
        assert any(byte == choice[index] for choice in choices), (
            f"{what}: the byte at {begin + index} (page {(begin + index) // PAGE}) is of {owner(found, begin + index)}; "
            f"acknowledged: {owner(sure, begin + index)}; in flight: {[owner(one.data, begin + index - one.at) if one.at % 16 == 0 else (one.at, one.length) for one in near]}")
    return True


class Disk:
    """A disk and its model. `image` is what was acknowledged, and `flying` what was sent."""

    ids = 0

    def __init__(self, name, size, image=None, maybe=(), origin=None, twin=None):
        Disk.ids += 1
        self.id, self.name, self.requests = Disk.ids, name, 0
        self.image = bytearray(size) if image is None else image
        self.flying, self.unsure, self.followers = [], list(maybe), []
        # A disk that was forked together with this one.
        self.origin, self.twin, self.born = origin, twin, None
        self.settings = {"readOnly": False}
        self.users, self.isExclusive, self.lock, self.naming = 0, False, threading.Lock(), threading.Lock()
        self.isSettled = not maybe and image is None

    @property
    def size(self):
        return len(self.image)

    def begin(self, at, length, kind):
        """Notes that a request is sent: "write", "clear" or "read". Returns None if another one is under way there."""
        with self.lock:
            if any(one.overlaps(at, at + length) for one in self.flying + self.unsure):
                return None
            self.requests += 1
            data = stamped(self.id, self.requests, at, length) if kind == "write" else None
            request = Request(at, length, data, changes=kind != "read")
            self.flying.append(request)
            if request.changes:
                for follower in self.followers:
                    follower.append(request)
            return request

    def done(self, request):
        """It was acknowledged."""
        with self.lock:
            if request.changes:
                self.image[request.at:request.end] = request.data
            self.flying.remove(request)

    def refused(self, request, found):
        """It was refused, and these bytes are there now."""
        with self.lock:
            sure = bytes(self.image[request.at:request.end])
            check(found, sure, [Request(0, request.length, request.data)], f"{self.name}, refused at {request.at}")
            self.image[request.at:request.end] = found
            self.flying.remove(request)

    def follow(self):
        """A fork begins: returns what it has for sure, and a list of what it may have, which grows."""
        with self.lock:
            maybe = [one for one in self.flying + self.unsure if one.changes]
            self.followers.append(maybe)
            return bytearray(self.image), maybe

    def unfollow(self, maybe):
        with self.lock:
            self.followers = [one for one in self.followers if one is not maybe]

    def settle(self, found):
        """Checks the whole contents, and takes them as the model. Returns the pages changed in part."""
        with self.lock:
            what = f"{self.name} (disk {self.id})"
            maybe = [one for one in self.flying + self.unsure if one.changes]
            if self.twin and self.twin.born is not None:
                torn = check(found, bytes(self.twin.born), [], f"{what}, forked together with disk {self.twin.id}")
            else:
                torn = check(found, bytes(self.image), maybe, what)
            self.image, self.flying, self.unsure, self.followers = bytearray(found), [], [], []
            self.isSettled, self.twin = True, None
            if self.origin is not None and self.born is None:
                self.born = bytes(found)
            self.users = 0
            self.isExclusive = False
            return torn
