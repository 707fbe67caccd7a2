"""A `hugemem serve` in a directory of its own."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from support.compare import eventually
from support.tools import refused, run
from support.wire import Wire

BINARY = os.path.abspath(
    os.environ.get("HUGEMEM", Path(__file__).parents[3] / ".build/release/hugemem"))


class Server:
    """Starts a server and waits until it is ready. `options` are those of `hugemem serve`.

    `launcher` is a program that starts the server. It gets the command as its arguments. Without `waits`,
    the caller waits until it is ready, by `is_ready`.
    """

    def __init__(self, directory, *options, launcher=(), pass_fds=(), waits=True):
        self.directory = Path(directory)
        self.log = self.directory.with_suffix(".err")
        self.output = self.directory.with_suffix(".out")
        self.wires, self.was_ended = [], False
        with open(self.output, "w") as out, open(self.log, "w") as err:
            self.process = subprocess.Popen(
                [*launcher, BINARY, "serve", "--directory", str(directory), *map(str, options)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=pass_fds)
        end = time.monotonic() + 60
        while waits and not self.is_ready():
            assert self.process.poll() is None, f"the server did not start:\n{self.log.read_text()}"
            assert time.monotonic() < end, f"the server is not ready after 60 s:\n{self.log.read_text()}"
            time.sleep(0.01)

    def is_ready(self):
        return ": ready" in self.said()

    # Its end

    def stop(self, number=signal.SIGTERM):
        """Sends a signal, waits for the end of the server, and returns its exit status."""
        self.was_ended = True
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.kill()

    def kill(self):
        """Sends SIGKILL if the server still runs."""
        self.was_ended = True
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for wire in self.wires:
            wire.close()
        self.wires = []

    def stops_cleanly(self, number=signal.SIGTERM):
        """Ends the server. Fails unless its status is 0, no socket is left and it did not crash."""
        status = self.stop(number)
        log = self.log.read_text(errors="replace")
        assert status == 0, f"the server ended with {status}\n{log[-2000:]}"
        assert os.listdir(self.directory) == ["lock"], "what is left in the directory"
        crash = re.search("Fatal error|Crash|panic", log)
        assert not crash, f"the server's log tells of a crash\n{log[-4000:]}"

    # The command line

    def command(self, name, *arguments):
        return [BINARY, name, "--directory", str(self.directory), *map(str, arguments)]

    def run(self, name, *arguments, **more):
        """Runs a command of the command line, and returns the completed process."""
        return run(*self.command(name, *arguments), **more)

    def refused(self, pattern, name, *arguments, **more):
        """Runs a command that must be refused with a message that `pattern` matches."""
        return refused(pattern, *self.command(name, *arguments), **more)

    def remove(self, *names):
        """Removes disks. The server may not have noticed yet that their clients are gone."""
        def removed():
            done = self.run("remove", *names, check=False)
            assert done.returncode == 0 or "connected client" in done.stderr, done.stderr
            return done.returncode == 0

        eventually(removed, f"{' '.join(names)} can be removed")

    def json(self, name, *arguments):
        return json.loads(self.run(name, "--json", *arguments).stdout)

    def stat(self):
        return self.json("stat")

    def counter(self, name):
        return {counter["name"]: counter["value"] for counter in self.stat()["counters"]}[name]

    def disk(self, name):
        """The figures of `stat` for one disk."""
        (disk,) = self.json("stat", name)["disks"]
        return disk

    def data(self, name):
        """The bytes of memory with data that a disk sees."""
        return self.disk(name)["data"]

    def names(self):
        return [disk["name"] for disk in self.json("list")]

    # The process

    def said(self):
        return self.output.read_text()

    def resident(self):
        """The resident memory in bytes, as the kernel counts it. The pages of programs and libraries are not the
        server's own, and there are more of them with each code that runs for the first time."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * sum(int(size) for size in re.findall(r"^Rss(?:Anon|Shmem):\s*(\d+)", status, re.MULTILINE))

    # Clients

    @property
    def tcp(self):
        """The HOST:PORT at which the server listens on TCP."""
        found = re.search(r"^ *over TCP: nbds?://(\S*)/NAME", self.said(), re.MULTILINE)
        assert found, f"no TCP address in:\n{self.said()}"
        return found.group(1)

    def uri(self, disk, transport="unix"):
        if transport == "tcp":
            return f"nbd://{self.tcp}/{quote(disk)}"
        return f"nbd+unix:///{quote(disk)}?socket={self.directory}/nbd.sock"

    def wire(self, flags=3, timeout=60, transport="unix"):
        """A raw connection, at the beginning of its negotiation."""
        address = f"{self.directory}/nbd.sock"
        if transport == "tcp":
            host, port = self.tcp.rsplit(":", 1)
            address = (host.strip("[]"), int(port))
        self.wires.append(Wire(address, flags, timeout))
        return self.wires[-1]

    def go(self, disk, structured=True, **more):
        """A raw connection in transmission."""
        return self.wire(**more).go(disk, structured=structured)

    def io(self, disk, *commands, transport="unix"):
        """Runs commands of qemu-io over one connection. qemu-io exits with 1 if a pattern differs,
        and reports other failures only in its output."""
        done = self.qemu_io(disk, *commands, transport=transport)
        assert done.returncode == 0 and not re.search("fail|error|mismatch", done.stdout + done.stderr, re.I), (
            f"{' '.join(done.args)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")

    def qemu_io(self, disk, *commands, transport="unix"):
        arguments = [part for command in commands for part in ("-c", command)]
        return run("qemu-io", "-f", "raw", *arguments, self.uri(disk, transport), check=False)

    def libnbd(self, disk, structured=True, transport="unix"):
        import nbd
        handle = nbd.NBD()
        handle.set_request_structured_replies(structured)
        if structured:
            handle.add_meta_context("base:allocation")
        handle.connect_uri(self.uri(disk, transport))
        return handle
