"""A file whose reads wait: a FUSE file system in place of it, so that a test decides what can be read."""

import os
import shutil
import subprocess
import time

import pytest

from support.compare import eventually
from support.tools import needs


class Gate:
    """Puts a file system with one slow file in the place of `file`. Reads of the bytes in `closed` wait until
    `open` is called; all others are only slow, about 20 MiB/s. Skips the test where that is not possible."""

    def __init__(self, file, closed=range(0)):
        needs("nbdfuse", "nbdkit", "fusermount3")
        if not os.access("/dev/fuse", os.W_OK):
            pytest.skip("no /dev/fuse")
        self.file = os.fspath(file)
        # Outside of the directory, which may be moved.
        above = os.path.dirname(os.path.dirname(self.file))
        self.behind = os.path.join(above, os.path.basename(self.file) + ".behind")
        self.key = self.behind + ".open"
        shutil.move(self.file, self.behind)
        open(self.file, "w").close()
        wait = (f"while [ $4 -ge {closed.start} ] && [ $4 -lt {closed.stop} ] && [ ! -e {self.key} ]; "
                "do sleep 0.01; done; ")
        read = f"dd if={self.behind} iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none"
        self.process = subprocess.Popen(
            ["nbdfuse", self.file, "--command", "nbdkit", "-s", "--exit-with-parent", "eval",
             "thread_model=echo parallel", f"get_size=stat -c %s {self.behind}", f"pread={wait}{read}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        end = time.monotonic() + 20
        while not os.path.ismount(self.file):
            if self.process.poll() is not None:
                message = self.process.stderr.read().decode(errors="replace")
                shutil.move(self.behind, self.file)
                pytest.skip(f"no FUSE here: {message}")
            assert time.monotonic() < end, "the file is not mounted after 20 s"
            time.sleep(0.01)

    def open(self):
        """Lets all reads go on."""
        open(self.key, "w").close()

    def end(self):
        """Ends the file system. Reads that wait, and all later ones, fail."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait()
        if os.path.ismount(self.file) or not os.path.exists(self.file):
            subprocess.run(["umount", "-l", self.file], stderr=subprocess.DEVNULL)

    def remove(self):
        """Leaves the file as it was before, if that was not done already."""
        self.open()
        self.end()
        if os.path.exists(self.behind):
            eventually(lambda: not os.path.ismount(self.file), "the file system is gone")
            os.replace(self.behind, self.file)
