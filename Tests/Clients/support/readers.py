"""Threads that read holes, without structured replies. With those, the server would report a hole
without reading it."""

import threading

from support.compare import eventually


class Readers:
    """Threads that read holes all over a disk until `stop`. A byte that is not 0 fails the test."""

    def __init__(self, server, disk, count=3):
        self.server, self.disk = server, disk
        self.stopping, self.failures, self.reads = threading.Event(), [], [0] * count
        self.threads = [threading.Thread(target=self.read, args=(number,), daemon=True) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def read(self, number):
        try:
            wire, zeros = self.server.go(self.disk, structured=False), bytes(64 << 10)
            # Each thread has 8 slots of 2 MiB of its own, so that few tables are enough. Some reads
            # are small enough to be copied, and others are sent from their frames.
            while not self.stopping.is_set():
                at = (number * 8 + self.reads[number] % 8) << 21
                length = 4096 if self.reads[number] & 8 else 64 << 10
                assert wire.read(at, length) == zeros[:length], f"{length} bytes at {at} are not zeros"
                self.reads[number] += 1
                self.stopping.wait(0.001)  # leave the cores to other threads
        except BaseException as failure:
            self.failures.append(failure)

    def go_on(self):
        """Waits until each thread has read again, and fails if one cannot."""
        before = list(self.reads)

        def all_have_read():
            assert not self.failures, self.failures
            return all(now > then for now, then in zip(self.reads, before))

        eventually(all_have_read, "every reader goes on", pause=0.01)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        self.stopping.set()
