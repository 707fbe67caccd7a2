"""`hugemem top` on a terminal of its own: its window, its keys, and what it leaves behind."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time


class Screen:
    """One run in 12 rows of 100 columns. `text` has the output that no test has looked at yet."""

    def __init__(self, server, *arguments, columns=100, rows=12):
        self.ours, theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(theirs)
        self.theirs, self.text = theirs, b""
        self.process = subprocess.Popen(
            server.command("top", *arguments), stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=self.control)

    def control(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # makes Ctrl-C a signal

    def resize(self, columns, rows):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def key(self, key):
        os.write(self.ours, key)

    def pump(self, seconds):
        if select.select([self.ours], [], [], seconds)[0]:
            self.text += os.read(self.ours, 1 << 16)

    def wait_for(self, part, seconds=60):
        end = time.monotonic() + seconds
        while part not in self.text:
            assert time.monotonic() < end, (part, self.text[-2000:])
            self.pump(0.1)
        self.text = self.text[self.text.index(part) + len(part):]

    def quiet(self, seconds):
        """Waits until the program has written nothing for so long."""
        while select.select([self.ours], [], [], seconds)[0]:
            self.text += os.read(self.ours, 1 << 16)

    def frame(self):
        """The lines of the next whole frame."""
        self.wait_for(b"\x1b[H")
        end = time.monotonic() + 60
        while b"\x1b[J" not in self.text:
            assert time.monotonic() < end, self.text
            self.pump(0.1)
        frame, self.text = self.text.split(b"\x1b[J", 1)
        return frame.decode().replace("\x1b[K", "").replace("\r", "").split("\n")

    def fits(self, columns, rows, condition=lambda lines: True):
        """Waits for a frame that fits the window and meets `condition`. The next frame must do so
        too. Frames before that may still fit the old size of the window."""
        end = time.monotonic() + 60
        while True:
            lines = self.frame()
            if len(lines) <= rows and max(map(len, lines)) <= columns and condition(lines):
                break
            assert time.monotonic() < end, (columns, rows, lines)
        lines = self.frame()
        assert len(lines) <= rows and max(map(len, lines)) <= columns, (columns, rows, lines)
        return lines

    def ended(self, status):
        """Waits for the end of the program, which must leave the terminal as it was."""
        end = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end, "does not end"
            self.pump(0.1)
        self.pump(0.1)
        assert self.process.returncode == status, (self.process.returncode, self.text)
        assert b"\x1b[?25h\x1b[?1049l" in self.text, self.text
        assert termios.tcgetattr(self.theirs) == self.before, "the terminal's modes"
        return self.text.split(b"\x1b[?1049l", 1)[1].decode()
