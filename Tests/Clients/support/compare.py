"""Comparisons of bytes, and waits for a state. A failure shows what they saw."""

import random
import time


def noise(length, seed=1):
    """Random bytes, so that no two pages are the same. The same seed gives the same bytes."""
    source, piece = random.Random(seed), 16 << 20  # randbytes has a limit
    return b"".join(source.randbytes(min(piece, length - at)) for at in range(0, length, piece))


def first_difference(got, wanted):
    """The first offset at which two byte strings differ. They must differ."""
    low, high = 0, min(len(got), len(wanted))
    if got[:high] == wanted[:high]:
        return high
    while high - low > 1:  # the difference is in [low, high)
        middle = (low + high) // 2
        if got[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle
    return low


def dump(data, begin, end, mark):
    """Rows of 16 bytes in hexadecimal, with an arrow at the row of the offset `mark`."""
    rows = []
    for at in range(begin, end, 16):
        row = data[at : min(at + 16, end)]
        arrow = ">" if at <= mark < at + 16 else " "
        rows.append(f"  {arrow} {at:#012x}  {row.hex(' ') or '(end)'}")
    return "\n".join(rows)


def same_bytes(got, wanted, what="the bytes", at=0):
    """Fails unless both are equal, and shows the bytes around the first difference.

    `at` is the offset on the disk at which the bytes begin, for the message.
    """
    if len(got) == len(wanted) and got == wanted:
        return
    where = first_difference(got, wanted)
    begin = max(0, where // 16 * 16 - 32)
    differing = sum(
        got[page : page + 4096] != wanted[page : page + 4096]
        for page in range(0, max(len(got), len(wanted)), 4096))
    raise AssertionError(
        f"{what}: {len(got)} bytes, {len(wanted)} wanted; the first difference is {where} bytes in, "
        f"at offset {at + where} ({at + where:#x}); {differing} blocks of 4096 bytes differ\n"
        f"  got:\n{dump(got, begin, begin + 80, where)}\n"
        f"  wanted:\n{dump(wanted, begin, begin + 80, where)}")


def same_files(got, wanted, length=None):
    """Fails unless two files have the same first `length` bytes, or without it are equal."""
    piece, at = 16 << 20, 0
    with open(got, "rb") as one, open(wanted, "rb") as other:
        while length is None or at < length:
            most = piece if length is None else min(piece, length - at)
            parts = one.read(most), other.read(most)
            same_bytes(*parts, what=f"{got} and {wanted}", at=at)
            if not parts[0]:
                assert length is None, f"{got} and {wanted} end at {at}, before {length}"
                return
            at += len(parts[0])


def eventually(condition, what, seconds=60, pause=0.02):
    """Waits until `condition()` is true, and returns what it returned.

    The deadline is generous. The test is that the state comes, not how fast it comes.
    """
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"after {seconds} s still not so: {what}; last seen: {found!r}")
        time.sleep(pause)


def falls_to(limit, measure, what, seconds=60, pause=0.02):
    """Waits until `measure()` returns at most `limit`. Returns (number, milliseconds)."""
    begin = time.monotonic()
    while (value := measure()) > limit:
        if time.monotonic() >= begin + seconds:
            raise AssertionError(f"{what}: {value} after {seconds} s, should be at most {limit}")
        time.sleep(pause)
    return value, int((time.monotonic() - begin) * 1000)
