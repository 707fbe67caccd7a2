"""Threads that read holes, without structured replies: those would say that there is a hole, and
nobody would read it."""

import threading

from support.compare import eventually


class Readers:
    """They read holes all over a disk until `stop`; each byte that is not 0 fails the test."""

    def __init__(self, server, disk, count=3):
        self.server, self.disk = server, disk
        self.stopping, self.failures, self.reads = threading.Event(), [], [0] * count
        self.threads = [threading.Thread(target=self.read, args=(number,), daemon=True) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def read(self, number):
        try:
            wire, zeros = self.server.go(self.disk, structured=False), bytes(64 << 10)
            # 8 different slots of 2 MiB a thread, so that few tables are enough; sizes on both sides
            # of what is copied and what is sent from where it lies.
            while not self.stopping.is_set():
                at = (number * 8 + self.reads[number] % 8) << 21
                length = 4096 if self.reads[number] & 8 else 64 << 10
                assert wire.read(at, length) == zeros[:length], f"{length} bytes at {at} are not zeros"
                self.reads[number] += 1
                self.stopping.wait(0.001)  # leaves the cores to the others
        except BaseException as failure:
            self.failures.append(failure)

    def go_on(self):
        """Returns once each has read again, and fails if one cannot."""
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
