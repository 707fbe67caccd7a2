"""A memory control group below this process's own, of version 1 or 2."""

import os
import re
import time
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


class Group:
    """Makes a group with a limit of so many bytes, or skips the test with the reason why it
    cannot."""

    def __init__(self, limit):
        if os.getuid() != 0:
            pytest.skip("a control group needs root")
        own = re.search(r"^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$",
                        Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        if own:
            self.version = 1
            self.path = ROOT / "memory" / own.group(1).strip("/") / self.name()
            try:
                self.path.mkdir()
            except OSError as error:
                pytest.skip(f"no control group may be made in {self.path.parent}: {error.strerror}")
            self.set("memory.limit_in_bytes", limit)
            # If swap is counted, limit it too, so that the group cannot exceed its limit by
            # swapping.
            if (self.path / "memory.memsw.limit_in_bytes").exists():
                self.set("memory.memsw.limit_in_bytes", limit)
        else:
            self.version = 2
            self.path = self.delegated()
            self.set("memory.max", limit)
            if (self.path / "memory.swap.max").exists():
                self.set("memory.swap.max", 0)

    made = 0

    @classmethod
    def name(cls):
        cls.made += 1
        return f"hugemem.{os.getpid()}.{cls.made}"

    def delegated(self):
        """Version 2: makes the group beside this process's group if it cannot be below it. Only
        groups without processes may have groups with controllers below them."""
        (own,) = re.findall(r"^0::(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        own = ROOT / own.strip("/")
        for parent in dict.fromkeys((own, own.parent)):
            if ROOT not in (parent, *parent.parents):
                continue
            path = parent / self.name()
            try:
                try:
                    (parent / "cgroup.subtree_control").write_text("+memory")
                except OSError:
                    pass  # the controller may be on already
                path.mkdir()
            except OSError:
                continue
            if (path / "memory.max").exists():
                return path
            path.rmdir()
        pytest.skip("the memory controller is not delegated to this process's control group (v2)")

    def set(self, name, value):
        (self.path / name).write_text(str(value))

    def text(self, name):
        return (self.path / name).read_text()

    def launcher(self):
        """The start of a command line. The command that follows it runs in the group."""
        return ("sh", "-c", f"echo $$ >'{self.path}/cgroup.procs' && exec \"$0\" \"$@\"")

    def used(self):
        return int(self.text("memory.usage_in_bytes" if self.version == 1 else "memory.current"))

    def oom_kills(self):
        text = self.text("memory.oom_control" if self.version == 1 else "memory.events")
        return int(re.search(r"^oom_kill (\d+)$", text, re.MULTILINE).group(1))

    def nobody_killed(self, server):
        """Checks that the same server still answers, and that the kernel has killed no process."""
        assert self.oom_kills() == 0, "processes that the kernel killed for memory"
        assert server.process.poll() is None, "the server is gone"
        assert str(server.process.pid) in self.text("cgroup.procs").split(), "the server is not in its group"
        server.run("list")

    def remove(self):
        # The kernel may take a moment to remove the last process from the group.
        for _ in range(100):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)
