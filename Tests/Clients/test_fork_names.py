"""Export names that fork. The first connection to golden@job42 makes a fork, which stays. The fork
of golden@ is removed with its connection."""

import pytest

from support.compare import eventually, same_bytes
from support.tools import refused
from support.wire import ACK, DISC, INFO, LIST, LIST_META, REP_SERVER, STRUCTURED_REPLY, WRITE, text

MIB = 1 << 20


@pytest.fixture
def golden(server):
    server = server(create=("golden=1G", "other=1G"))
    server.io("golden", "write -P 1 0 8M")
    return server


@pytest.fixture
def job(golden):
    """A connection has made golden@job42, and written 4 KiB of twos to it."""
    golden.io("golden@job42", "read -P 1 0 8M", "write -P 2 0 4k")
    return golden


def test_info_makes_nothing(golden):
    """nbdinfo --size sends INFO before it connects. This client sends only INFO."""
    wire = golden.wire()
    assert wire.status(INFO, text("golden@looked") + b"\0\0") == ACK
    assert wire.status(INFO, text("golden@") + b"\0\0") == ACK
    assert wire.status(STRUCTURED_REPLY) == ACK
    assert wire.meta(LIST_META, "golden@looked", "base:")[0] == ACK
    assert golden.names() == ["golden", "other"]


def test_the_first_connection_makes_it(job):
    assert job.names() == ["golden", "job42", "other"]
    assert job.disk("job42")["origin"] == "golden"
    job.io("golden", "read -P 1 0 8M")


def test_it_is_the_same_disk_again_under_both_names_and_at_once(job):
    other = job.go("golden@job42")
    job.io("golden@job42", "read -P 2 0 4k", "write -P 3 4k 4k")
    job.io("job42", "read -P 2 0 4k", "read -P 3 4k 4k")
    assert other.read(4096, 1) == b"\3"


def test_it_counts_as_connected_no_longer_than_its_clients(job):
    eventually(lambda: sum(disk["connections"] for disk in job.json("list")) == 0, "nobody is connected")


def test_it_stays_as_it_was_at_the_first_connection(job):
    """The fork does not see later writes to the origin."""
    job.io("golden", "write -P 4 1M 1M")
    job.io("golden@job42", "read -P 1 1M 1M")
    job.io("golden@later", "read -P 4 1M 1M")


@pytest.mark.parametrize("name, reason", [
    ("other@job42", 'disk "job42" is a fork of "golden", not a fork of "other"'),
    ("other@golden", '"golden" is no fork, not a fork of "other"'),
    ("golden@a b", 'disk name "a b": contains " "'),
    ("nosuch@job", 'no disk is named "nosuch"'),
], ids=["wrong-origin", "not-a-fork", "bad-name", "no-origin"])
def test_a_name_that_cannot_be_is_refused_with_the_reason_and_makes_nothing(job, name, reason):
    refused(reason, "qemu-img", "info", job.uri(name))
    assert job.names() == ["golden", "job42", "other"]


def test_temporary_forks_are_one_each(golden):
    forks = [golden.go("golden@") for _ in range(3)]
    for index, wire in enumerate(forks):
        assert wire.read(0, 2) == b"\1\1"
        wire.write(0, bytes([50 + index]) * (16 * MIB))
    for index, wire in enumerate(forks):
        assert wire.read(16 * MIB - 1, 1) == bytes([50 + index])
        # No CAN_MULTI_CONN, since another connection would get another disk.
        assert wire.flags & 1 << 8 == 0


def test_temporary_forks_are_not_offered_to_clients_that_list(job):
    """No other client can connect to them."""
    forks = [job.go("golden@") for _ in range(3)]
    listed = [payload[4:4 + payload[3]] for kind, payload in job.wire().option(LIST) if kind == REP_SERVER]
    assert listed == [b"golden", b"job42", b"other"]
    assert all(wire.read(0, 1) == b"\1" for wire in forks)


def test_temporary_forks_and_their_memory_go_with_their_connections(golden, figure):
    before = golden.stat()["memoryUsed"]
    forks = [golden.go("golden@") for _ in range(3)]
    for wire in forks:
        wire.write(0, b"\7" * (16 * MIB))
    full = golden.stat()
    assert full["memoryUsed"] >= before + 48 * MIB
    assert len(full["disks"]) == 5
    forks[0].request(DISC)  # three ends: politely, by closing, and in the middle of a write
    forks[1].close()
    forks[2].request(WRITE, 0, MIB, 0, b"x" * 70000)
    forks[2].close()

    def gone():
        status = golden.stat()
        return len(status["disks"]) == 2 and status["memoryUsed"] <= before + MIB and status

    after = eventually(gone, "the temporary forks and their memory are gone")
    assert [disk["name"] for disk in after["disks"]] == ["golden", "other"]
    figure(f"memoryUsed before {before}, with 48 MiB written and gone {after['memoryUsed']}")


def test_30_clients_that_ask_for_the_same_new_fork_at_once_get_one(golden, together):
    found = []

    def client(index):
        wire = golden.go("golden@rush")
        wire.write(4096 * index, bytes([index]) * 4096)
        found.append(wire)

    together(*(lambda index=index: client(index) for index in range(30)))
    assert len(found) == 30
    for wire in found:
        same_bytes(wire.read(0, 4096 * 30), b"".join(bytes([index]) * 4096 for index in range(30)))
