"""Clients of a server that will be killed. Each notes in a `World` what it sends and what is acknowledged, and
ends when the server does."""

import http.client
import random
import threading
import time

from support.durable import PAGE
from support.wire import DISC, ENOSPC, FLUSH, NO_HOLE, READ, TRIM, WRITE, WRITE_ZEROES, Wire

MIB = 1 << 20
GONE = (OSError, EOFError, http.client.HTTPException)
LENGTHS = [512, 512, PAGE, PAGE, PAGE, 13, 4095, 5000, 65_536, 65_536, 100_000, 262_144, MIB, 2 * MIB, 4 * MIB]


class Worker(threading.Thread):
    def __init__(self, server, world, seed):
        super().__init__(daemon=True)
        self.path, self.world, self.failure = f"{server.directory}/nbd.sock", world, None
        self.server, self.chance, self.stopping = server, random.Random(seed), threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step()
        except GONE:
            pass
        except BaseException as failure:
            self.failure = failure

    def end(self):
        self.join(60)
        assert not self.is_alive(), "a client notices that the server is gone"
        if self.failure:
            raise self.failure

    def connect(self, export, **more):
        return Wire(self.path, timeout=120).go(export, **more)


class Writer(Worker):
    """Writes, trims, zeroes and reads, several requests at a time."""

    def step(self):
        disk = self.world.enter(self.chance)
        if disk is None:
            return time.sleep(0.01)
        with disk.naming:
            wire = self.connect(disk.name, structured=self.chance.random() < 0.5)
        assert wire.size == disk.size, (disk.name, wire.size, disk.size)
        for _ in range(self.chance.randrange(1, 25)):
            if self.stopping.is_set() or disk.isExclusive:
                break
            self.batch(wire, disk)
        wire.request(DISC)
        wire.is_closed()
        wire.close()
        self.world.leave(disk)

    def requests(self, disk):
        made = []
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            length = min(self.chance.choice(LENGTHS), disk.size)
            at = self.chance.randrange(disk.size - length + 1)
            at -= at % self.chance.choice([1, 512, PAGE, PAGE, 2 * MIB])
            command = self.chance.choice([WRITE] * 7 + [TRIM, WRITE_ZEROES, READ])
            kind = {WRITE: "write", READ: "read"}.get(command, "clear")
            if request := disk.begin(at, length, kind):
                request.command = command
                made.append(request)
        return made

    def batch(self, wire, disk):
        waiting, refused, failure = {}, [], None
        try:
            for cookie, request in enumerate(self.requests(disk), 1):
                waiting[cookie] = request
                flags = NO_HOLE if request.command == WRITE_ZEROES and self.chance.random() < 0.5 else 0
                wire.request(request.command, request.at, request.length, flags,
                             request.data if request.command == WRITE else b"", cookie)
            if self.chance.random() < 0.2:
                waiting[99] = None
                wire.request(FLUSH, cookie=99)
        except OSError as gone:
            # Answers to what came before are still to be read.
            failure = gone
        while waiting:
            reply = wire.reply(0) if wire.structured else self.simple(wire, waiting)
            request = waiting.pop(reply.cookie)
            if request is None:
                assert reply.error == 0, f"a flush: error {reply.error}"
            elif reply.error:
                assert reply.error == ENOSPC and request.changes, f"{request.command}: error {reply.error}"
                refused.append(request)
            else:
                disk.done(request)
                self.world.acknowledged += 1
        if failure:
            raise failure
        for request in refused:
            disk.refused(request, wire.read(request.at, request.length))
            self.world.refused += 1

    def simple(self, wire, waiting):
        """A simple reply, of which only the request says how long it is. The replies may come in any order."""
        reply = wire.reply(0)
        request = waiting[reply.cookie]
        if request is not None and request.command == READ and not reply.error:
            wire.take(request.length)
        return reply
