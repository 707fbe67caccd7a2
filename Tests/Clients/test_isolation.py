"""A bad client does not disturb others: one that ends in the middle of a write, that never reads,
that never sends anything, or that is slow."""

import struct

import pytest

from support.compare import eventually, falls_to, same_bytes
from support.wire import GO, READ, TRIM, WRITE, text

MIB = 1 << 20


@pytest.fixture
def data(server):
    return server(create="data=64M")


@pytest.mark.parametrize("sent", [0, 1, 4095, 4096, 300_000, 1_000_000])
def test_a_client_gone_in_the_middle_of_a_write_changes_no_other_page(data, sent):
    other = data.go("data")
    other.write(0, b"\1" * (4 * MIB))
    wire = data.go("data")
    wire.request(WRITE, MIB, 2 * MIB, 0, b"\2" * sent)
    wire.close()
    # What was sent is still being written as long as the server has not noticed the end.
    eventually(lambda: data.disk("data")["connections"] == 1, "the other client is gone")
    # The part of the write that was sent may be there. Nothing else may have changed.
    got = other.read(0, 4 * MIB)
    same_bytes(got[:MIB], b"\1" * MIB, "what is before the write")
    same_bytes(got[MIB + sent :], b"\1" * (3 * MIB - sent), "what is after what was sent", at=MIB + sent)
    part = got[MIB : MIB + sent]
    assert part.lstrip(b"\2").strip(b"\1") == b"", "first new bytes, then old ones"
    other.write(MIB, b"\3" * 4096)
    same_bytes(other.read(MIB, 4096), b"\3" * 4096, at=MIB)


def test_clients_gone_within_a_requests_head(data):
    for count in range(28):
        wire = data.go("data")
        wire.send(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 4096)[:count])
        wire.close()
    assert data.go("data").read(0, 1) == b"\0"


def test_clients_gone_within_an_option(data):
    for count in range(0, 20, 3):
        wire = data.wire()
        wire.send((b"IHAVEOPT" + struct.pack(">II", GO, 10) + text("data"))[:count])
        wire.close()
    assert data.go("data").read(0, 1) == b"\0"


def never_reading(data, count):
    """Clients that do not read 32 MiB of replies each, which is more than a socket holds."""
    clients = [data.go("data") for _ in range(count)]
    for wire in clients:
        for _ in range(8):
            wire.request(READ, 0, 4 * MIB)
    return clients


def test_readers_that_never_read_stop_nobody(data):
    data.go("data").write(0, b"\3" * (4 * MIB))
    stuck = never_reading(data, 20)
    for wire in stuck:
        wire.request(WRITE, 8 * MIB, 4096, 0, b"\7" * 4096)
    other = data.go("data")
    for index in range(200):
        other.write(16 * MIB, struct.pack(">Q", index) * 512)
        assert other.read(16 * MIB, 8) == struct.pack(">Q", index)
    # They hold the frames that were there when they asked. Others now overwrite and trim these.
    other.write(0, b"\4" * (4 * MIB))
    assert other.error(TRIM, 0, 4 * MIB) == 0
    same_bytes(other.read(0, 4096), bytes(4096))
    # A client that reads at last gets all its replies, in step, with only data that was there once.
    for _ in range(8):
        reply = stuck[0].reply()
        assert reply.error == 0
        for kind, payload in reply.chunks:
            assert kind != 1 or set(payload[8:]) <= {0, 3, 4}
    assert stuck[0].reply().error == 0
    same_bytes(other.read(8 * MIB, 4096), b"\7" * 4096, at=8 * MIB)


def test_readers_that_never_read_hold_no_grace_period(server):
    data = server(memory="64M", create=("data=64M", "full=1G"))
    data.go("data").write(0, b"\3" * (4 * MIB))
    stuck = never_reading(data, 20)
    half = [data.go("data") for _ in range(20)]
    for wire in half:
        wire.request(WRITE, 48 * MIB, MIB, 0, b"\5" * 5000)
    other, freed = data.go("data"), data.counter("thp_zero_page_free")
    # Six times the memory limit: every frame must come back after its grace period.
    for round in range(24):
        other.write(16 * MIB, bytes([round + 1]) * (16 * MIB))
        assert other.error(TRIM, 16 * MIB, 16 * MIB) == 0
    # A reset and a removed fork free their frames and tables too.
    data.run("fork", "data", "fork")
    wire = data.go("fork")
    wire.write(16 * MIB, b"\6" * (8 * MIB))
    data.run("reset", "fork")
    same_bytes(wire.read(16 * MIB, 4096), bytes(4096), at=16 * MIB)
    wire.close()
    data.remove("fork")
    # The zero page is freed when memory is short.
    full = data.go("full", structured=False)
    full.read(512 * MIB, 8 * MIB)
    assert data.counter("thp_zero_page_alloc") > freed
    block = refused = 0
    while refused < 20:
        refused = refused + 1 if full.error(WRITE, block * 65536, 65536, 0, b"\7" * 65536) else 0
        block += 1
    for at in range(0, 32 * MIB, 4096):
        if full.error(WRITE, 900 * MIB + at, 4096, 0, b"\7" * 4096):
            break
    assert data.counter("thp_zero_page_free") > freed
    assert full.error(TRIM, 0, 1 << 30) == 0
    falls_to(24 * MIB, lambda: (data.run("shrink"), data.stat()["memoryUsed"])[1], "the memory in use")
    assert len(stuck + half) == 40  # all were still open


def test_readers_that_never_read_do_not_stop_the_shutdown(data):
    data.go("data").write(0, b"\1" * (4 * MIB))
    stuck, idle = never_reading(data, 5), [data.wire() for _ in range(5)]
    data.stops_cleanly()
    assert len(stuck + idle) == 10  # all were still open when the server ended


def test_clients_that_say_nothing_stop_nobody(data):
    silent = [data.wire() for _ in range(50)]
    half = [data.go("data") for _ in range(50)]
    for wire in half:
        wire.request(WRITE, 0, MIB, 0, b"\5" * 5000)
    wire = data.go("data")
    assert wire.error(TRIM, 32 * MIB, MIB) == 0
    assert wire.read(32 * MIB, 1) == b"\0"
    assert len(silent + half) == 100


def test_a_write_in_drops_of_a_byte_each(data):
    wire = data.go("data", structured=False)
    wire.request(WRITE, 123, 6000)
    for _ in range(6000):
        wire.send(b"\6")
    assert wire.reply().error == 0
    same_bytes(data.go("data").read(123, 6000), b"\6" * 6000, at=123)


def test_a_read_in_sips_of_a_byte_each(data):
    data.go("data").write(123, b"\6" * 6000)
    wire = data.go("data", structured=False)
    wire.request(READ, 123, 6000)
    assert struct.unpack(">I", wire.take(4))[0] == 0x67446698
    wire.take(12)
    same_bytes(b"".join(wire.take(1) for _ in range(6000)), b"\6" * 6000, at=123)


def test_nobody_counts_as_connected_after_its_end(data):
    clients = [data.go("data") for _ in range(20)] + never_reading(data, 5)
    clients[0].request(WRITE, 0, MIB, 0, b"x" * 5000)
    assert data.disk("data")["connections"] == 25
    for wire in clients:
        wire.close()
    eventually(lambda: data.disk("data")["connections"] == 0, "nobody is connected")
