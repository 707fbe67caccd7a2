"""500 idle connections are cheap, even after large transfers, and the server goes on."""

import os
import time

import pytest

from support.compare import eventually, falls_to
from support.tools import run
from support.wire import READ

COUNT, LIMIT = 500, 64 << 10


@pytest.fixture
def data(server):
    """A server whose first client has used every buffer."""
    server = server(create="data=64M")
    wire = server.go("data")
    wire.write(0, b"\1" * (4 << 20))
    wire.read(0, 4 << 20)
    return server


def test_500_idle_connections_cost_less_than_64_kib_each(data, figure):
    before = data.resident()

    def settled(what):
        """Waits until memory settles: idle connections give their buffers back after a second."""
        each, _ = falls_to(LIMIT, lambda: (data.resident() - before) / COUNT, f"bytes a connection, {what}")
        figure(f"{what}: {each / 1024:.1f} KiB of resident memory each")

    idle = [data.go("data") for _ in range(COUNT)]
    settled("fresh")
    for wire in idle:  # uses every buffer that a connection has
        wire.request(READ, 0, 1 << 20)
        wire.reply()
        wire.write(0, b"\1" * (1 << 19))
    settled("after 1 MiB read and 512 KiB written")
    for wire in idle:
        assert wire.read(100, 4) == b"\1" * 4


def test_500_idle_connections_take_no_cpu(data):
    """Nobody looks for requests for ever: once idle, no thread of the server runs for its clients."""
    idle = [data.go("data") for _ in range(COUNT)]
    for _ in range(20):  # requests in quick succession, so that each looks for the next one
        for wire in idle[:20]:
            wire.read(0, 4096)

    def switches():
        """How often each of the connections' threads has begun to wait."""
        found = {}
        for task in os.listdir(f"/proc/{data.process.pid}/task"):
            with open(f"/proc/{data.process.pid}/task/{task}/status") as file:
                fields = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
            if fields["Name"] == "connection":
                found[task] = fields["State"][0], fields["voluntary_ctxt_switches"], fields["nonvoluntary_ctxt_switches"]
        return found

    def all_sleep():
        before = switches()
        time.sleep(1)
        return len(before) >= COUNT and before == switches() and all(state == "S" for state, *_ in before.values())

    eventually(all_sleep, "no thread of a connection ran for a second")
    assert idle[0].read(0, 1) == b"\1"


def test_500_clients_come_and_go_three_times_and_the_server_lives_on(data):
    for _ in range(3):
        clients = [data.go("data") for _ in range(COUNT)]
        for wire in clients[::50]:
            assert wire.read(0, 1) == b"\1"
        for wire in clients:
            wire.close()
    run("nbdinfo", "--size", data.uri("data"))
