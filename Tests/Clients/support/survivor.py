"""A server with --survive: it is killed and started again, and its disks stay."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from support.compare import eventually
from support.server import BINARY, Server
from support.tools import refused, run
from support.wire import DISC

CRASH = re.compile(r"Fatal error|Crash|panic|Thread \d+ crashed")
AGAIN = "keeps the memory again"


class Survivor:
    """The servers of one directory, one after the other. Everything that `Server` has is that of the one
    that runs now.

    `file` is the --memory-file; without one, a keeper has the memory.
    """

    def __init__(self, directory, *options, memory="256M", file=None):
        self.directory, self.file = Path(directory), file
        self.options = ["--memory", memory, *(["--memory-file", file] if file else ["--survive"]), *options]
        self.server, self.kills = None, 0
        self.start()

    def __getattr__(self, name):
        return getattr(self.__dict__["server"], name)

    def start(self, *more, options=None):
        """Starts a server with the same options, and with `more`."""
        assert self.server is None, "one runs"
        self.server = Server(self.directory, *(options or self.options), *more)
        return self

    def kill(self):
        """SIGKILL. Returns what the server had logged."""
        self.server.kill()
        log = self.server.log.read_text(errors="replace")
        assert not CRASH.search(log), f"the server's log tells of a crash\n{log[-4000:]}"
        self.server, self.kills = None, self.kills + 1
        return log

    def again(self, *more):
        """SIGKILL, and the same again."""
        self.kill()
        return self.start(*more)

    def start_and_kill(self, seconds):
        """A start that is killed after this time. Returns how far it got."""
        out, err = (self.directory.with_suffix(suffix) for suffix in (".out", ".err"))
        with open(out, "w") as said, open(err, "w") as log:
            process = subprocess.Popen(self.serve(), stdin=subprocess.DEVNULL, stdout=said, stderr=log)
        time.sleep(seconds)
        process.kill()
        assert process.wait() == -signal.SIGKILL, err.read_text()
        return "ready" if "ready" in out.read_text() else "recovered" if "are back" in err.read_text() else "before"

    def replace_keeper(self):
        """SIGKILL of the keeper. Waits until the server has another one, which has the memory."""
        (old,) = self.keepers()
        again = self.server.log.read_text().count(AGAIN)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: self.server.log.read_text().count(AGAIN) > again, "the server has another keeper")
        assert len(self.keepers()) == 1

    def take_over(self):
        """Another server takes over from this one."""
        old, self.server = self.server, None
        try:
            self.start("--takeover")
        finally:
            self.server = self.server or old
        assert old.process.wait(20) == 0, "the old one has ended"

    def stop(self):
        """SIGTERM. It must end cleanly, and leave no socket of its own."""
        status = self.server.stop(signal.SIGTERM)
        log = self.server.log.read_text(errors="replace")
        assert status == 0, f"the server ended with {status}\n{log[-2000:]}"
        left = set(os.listdir(self.directory)) - {"lock", "keeper.lock", "keeper.sock"}
        assert not left, f"left in the directory: {left}"
        assert not CRASH.search(log), f"the server's log tells of a crash\n{log[-4000:]}"
        self.server = None

    def refused(self, pattern, *more, options=None):
        """A start that must be refused with a message that `pattern` matches."""
        return refused(pattern, *self.serve(*more, options=options))

    def serve(self, *more, options=None):
        return [BINARY, "serve", "--directory", str(self.directory), *map(str, options or self.options), *map(str, more)]

    # Clients that are gone afterwards

    def read(self, disk, at, length):
        wire = self.server.go(disk)
        try:
            return b"".join(wire.read(place, min(8 << 20, at + length - place)) for place in range(at, at + length, 8 << 20))
        finally:
            self.leave(wire)

    def write(self, disk, at, data):
        wire = self.server.go(disk)
        for place in range(0, len(data), 8 << 20):
            wire.write(at + place, data[place:place + (8 << 20)])
        self.leave(wire)

    def leave(self, wire):
        """Ends a connection, and waits until the server has noticed."""
        wire.request(DISC)
        wire.is_closed()
        wire.close()
        self.server.wires.remove(wire)

    # Beside the server

    def keeper(self, *command, check=True):
        return run(BINARY, "keeper", *command, "--directory", self.directory, check=check)

    def keepers(self):
        """The process numbers of the keepers of this directory."""
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if words[1:3] == ["keeper", "run"] and str(self.directory) in words:
                found.append(int(process))
        return found

    def in_use(self):
        """Bytes of memory that the server has in use, of which nothing waits to be freed."""
        self.server.run("shrink")
        return self.server.stat()["memoryUsed"]

    def end(self):
        """Ends the server, and drops the memory."""
        try:
            if self.server and not self.server.was_ended:
                self.stop()
        finally:
            if self.server:
                self.server.kill()
            if self.file is None:
                self.keeper("end", check=False)
            elif os.path.exists(self.file):
                os.remove(self.file)
