"""The checker of the kills must be able to fail: it gets right and wrong outcomes."""

import pytest

from support.durable import PAGE, Disk, Request, check, stamped

SIZE = 8 * PAGE


@pytest.fixture
def disk():
    """A disk with request 1 acknowledged on all pages, and request 2 in flight from 1000 to 20000."""
    made = Disk("disk", SIZE)
    made.done(made.begin(0, SIZE, "write"))
    made.begin(1000, 19_000, "write")
    return made


def mixed(disk, *ranges):
    """The acknowledged bytes, with request 2 in some ranges."""
    found = bytearray(disk.image)
    for begin, end in ranges:
        found[begin:end] = stamped(disk.id, 2, begin, end - begin)
    return bytes(found)


@pytest.mark.parametrize("ranges, torn", [
    ([], 0),
    ([(1000, 20_000)], 0),
    ([(1000, 4096)], 0),
    ([(4096, 12_288), (16_384, 20_000)], 0),
    ([(1000, 9000)], 1),
    ([(1000, 9000), (12_288, 14_000)], 2),
])
def test_nothing_all_and_parts_are_right(disk, ranges, torn):
    assert disk.settle(mixed(disk, *ranges)) == torn
    assert disk.settle(bytes(disk.image)) == 0, "what was seen stays"


@pytest.mark.parametrize("ranges", [[(992, 1000)], [(20_000, 20_016)], [(24_576, 28_672)]])
def test_bytes_outside_the_request_are_wrong(disk, ranges):
    with pytest.raises(AssertionError, match="is of disk"):
        disk.settle(mixed(disk, *ranges))


def test_seven_torn_pages_of_one_request_are_wrong(disk):
    disk.done(disk.flying[0])
    disk.settle(mixed(disk, (1000, 20_000)))
    disk.begin(0, SIZE, "write")
    found = bytearray(disk.image)
    for page in range(0, 7 * PAGE, PAGE):
        found[page:page + 16] = stamped(disk.id, 3, page, 16)
    with pytest.raises(AssertionError, match="7 pages are changed in part"):
        disk.settle(bytes(found))


@pytest.mark.parametrize("found, message", [
    (lambda disk: bytes(SIZE), "zeros"),
    (lambda disk: stamped(disk.id + 1, 1, 0, SIZE), "is of disk"),
    (lambda disk: stamped(disk.id, 1, 4096, SIZE), "page 1"),
    (lambda disk: bytes(disk.image[:-1]), "bytes, should be"),
    (lambda disk: bytes(disk.image[:PAGE]) + bytes(PAGE) + bytes(disk.image[2 * PAGE:]), "byte at 4096"),
    (lambda disk: bytes(disk.image[:-1]) + b"\xff", "byte at 32767"),
])
def test_zeros_other_disks_and_old_bytes_are_wrong(disk, found, message):
    with pytest.raises(AssertionError, match=message):
        disk.settle(found(disk))


def test_what_was_acknowledged_is_no_longer_optional(disk):
    disk.done(disk.flying[0])
    disk.settle(mixed(disk, (1000, 20_000)))
    with pytest.raises(AssertionError, match="request 1"):
        disk.settle(stamped(disk.id, 1, 0, SIZE))


def test_a_trim_in_flight(disk):
    other = Disk("other", SIZE)
    other.done(other.begin(0, SIZE, "write"))
    other.begin(4096, 8192, "clear")
    found = bytearray(other.image)
    found[8192:12_288] = bytes(4096)
    other.settle(bytes(found))
    found[0:4096] = bytes(4096)
    with pytest.raises(AssertionError, match="zeros"):
        other.settle(bytes(found))


def test_a_fork_has_what_was_acknowledged_before_it(disk):
    image, maybe = disk.follow()
    later = disk.begin(24_576, 4096, "write")
    fork = Disk("fork", SIZE, image, maybe, origin=disk)
    disk.done(later)
    disk.unfollow(maybe)
    assert disk.begin(28_672, 4096, "write") and len(maybe) == 2, "what comes later is not in it"
    found = bytearray(image)
    found[24_576:28_672] = later.data
    check(bytes(found), bytes(image), maybe, "fork")
    twin = Disk("twin", SIZE, image, maybe, origin=disk, twin=fork)
    fork.settle(bytes(found))
    with pytest.raises(AssertionError, match="forked together"):
        twin.settle(bytes(image))
    twin.settle(bytes(found))
    found[28_672:] = stamped(disk.id, 4, 28_672, 4096)
    with pytest.raises(AssertionError, match="request 4"):
        check(bytes(found), bytes(image), maybe, "fork")


def test_a_refused_request_is_there_in_part(disk):
    (request,) = disk.flying
    disk.refused(request, mixed(disk, (1000, 4096))[1000:20_000])
    disk.settle(mixed(disk, (1000, 4096)))
    again = disk.begin(0, PAGE, "write")
    with pytest.raises(AssertionError, match="refused"):
        disk.refused(again, b"\xff" * PAGE)


def test_requests_do_not_overlap(disk):
    assert disk.begin(19_999, 10, "write") is None
    assert disk.begin(20_000, 10, "read") is not None
    assert not Request(0, 10, None).overlaps(10, 20)
