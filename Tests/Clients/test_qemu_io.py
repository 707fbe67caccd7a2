"""qemu-io: patterns written and verified, zeroes with and without unmap, discards, flushes."""

import pytest

MIB = 1 << 20


@pytest.fixture
def data(server):
    return server(create="data=64M")


def test_patterns_written_are_read(data):
    data.io("data", "write -P 1 0 64k", "write -P 2 1M 3M", "write -P 3 4095 2", "write -P 4 33554431 1",
            "read -P 2 1M 3M", "read -P 1 0 4095", "read -P 3 4095 2", "read -P 1 4097 61439",
            "read -P 4 33554431 1", "read -P 0 16M 8M")


def test_a_wrong_pattern_is_found(data):
    """This tests the test."""
    data.io("data", "write -P 1 0 64k")
    with pytest.raises(AssertionError, match="(?i)pattern verification failed"):
        data.io("data", "read -P 9 0 64k")


def test_zeroes_keep_memory_reserved(data):
    """Without -u, qemu sends NO_HOLE."""
    data.io("data", "write -P 5 8M 4M")
    before = data.data("data")
    data.io("data", "write -z 8M 4M", "read -P 0 8M 4M", "write -P 6 9M 4k", "read -P 6 9M 4k",
            "read -P 0 9220k 1M")
    assert data.data("data") == before


def test_zeroes_with_unmap_give_memory_back(data):
    data.io("data", "write -P 5 8M 8M")
    before = data.data("data")
    data.io("data", "write -z -u 8M 4M", "read -P 0 8M 4M")
    assert data.data("data") == before - 4 * MIB


def test_zeroes_of_3_bytes_leave_the_neighbours(data):
    data.io("data", "write -P 7 20M 8k", "write -z -u 20971619 3", "read -P 7 20M 99",
            "read -P 0 20971619 3", "read -P 7 20971622 4k")


def test_a_discard_gives_memory_back(data):
    data.io("data", "write -P 8 24M 4M")
    before = data.data("data")
    data.io("data", "discard 25M 2M", "flush", "read -P 8 24M 1M", "read -P 0 25M 2M", "read -P 8 27M 1M")
    assert data.data("data") == before - 2 * MIB


def test_fua(data):
    data.io("data", "write -f -P 10 40M 64k", "read -P 10 40M 64k", "write -z -f 40M 4k", "read -P 0 40M 4k")


def test_requests_side_by_side(data):
    data.io("data", "aio_write -P 11 48M 1M", "aio_write -P 12 49M 1M", "aio_write -P 13 50M 1M",
            "aio_write -z 51M 1M", "aio_flush",
            "aio_read -P 11 48M 1M", "aio_read -P 12 49M 1M", "aio_read -P 13 50M 1M",
            "aio_read -P 0 51M 1M", "aio_flush")


def test_vectors(data):
    data.io("data", "writev -P 14 56M 512 1k 4k 64k", "readv -P 14 56M 64k 4k 1k 512")
