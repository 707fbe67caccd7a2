"""A file whose reads wait or fail: a FUSE file system in its place, so that a test decides what can be read."""

import ctypes
import errno
import os
import shutil
import struct
import threading

import pytest

GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, FORGET = 3, 14, 15, 17, 18, 25, 26, 2
NOBODY_WAITS = (FORGET, 36, 42)  # and INTERRUPT, BATCH_FORGET


class Gate:
    """Puts a file system that is one file in the place of `file`. Reads that touch `closed`, a range of bytes, wait
    until `open`. Others are answered at once. Skips the test where nobody may mount."""

    def __init__(self, file, closed=range(0)):
        self.file, self.closed = os.fspath(file), closed
        # Outside of the directory, which may be moved.
        above = os.path.dirname(os.path.dirname(self.file))
        self.behind = os.path.join(above, os.path.basename(self.file) + ".behind")
        try:
            self.device = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            pytest.skip(f"no /dev/fuse: {error}")
        shutil.move(self.file, self.behind)
        open(self.file, "w").close()
        options = f"fd={self.device},rootmode=100444,user_id={os.getuid()},group_id={os.getgid()}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"gate", self.file.encode(), b"fuse", 0, options.encode()):
            os.replace(self.behind, self.file)
            pytest.skip(f"no rights to mount: {os.strerror(ctypes.get_errno())}")
        self.lock, self.waiting, self.fails = threading.Lock(), [], False
        self.data = os.open(self.behind, os.O_RDONLY)
        self.is_mounted = True
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def open(self):
        """Lets all reads go on."""
        with self.lock:
            waiting, self.waiting, self.closed = self.waiting, [], range(0)
        for one in waiting:
            self.read(*one)

    def fail(self):
        """Makes the reads that wait, and all later ones of the closed range, fail."""
        self.fails = True
        with self.lock:
            waiting, self.waiting = self.waiting, []
        for unique, _, _ in waiting:
            self.answer(unique, error=errno.EIO)

    def remove(self):
        """Leaves the file as it was before, if that was not done already."""
        if not self.is_mounted:
            return
        self.is_mounted = False
        self.open()
        ctypes.CDLL(None).umount2(self.file.encode(), 2)  # MNT_DETACH
        os.replace(self.behind, self.file)

    # The protocol: linux/fuse.h

    def serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except OSError:
                os.close(self.device)
                return  # it is no longer mounted
            _, operation, unique, node = struct.unpack("=IIQQ", request[:24])
            if operation == INIT:
                # Many reads may wait without making others wait.
                self.answer(unique, struct.pack("=IIIIHHIIHHI28x", 7, 31, 128 << 10, 1, 4000, 4000, 4096, 1, 32, 0, 0))
            elif operation == GETATTR:
                size = os.fstat(self.data).st_size
                attributes = struct.pack(
                    "=QQQQQQIIIIIIIIII", 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100444, 1, os.getuid(), os.getgid(), 0,
                    4096, 0)
                self.answer(unique, struct.pack("=QII", 0, 0, 0) + attributes)
            elif operation == OPEN:
                self.answer(unique, struct.pack("=QII", 1, 0, 0))
            elif operation == READ:
                offset, length = struct.unpack("=8xQI", request[40:60])
                with self.lock:
                    is_closed = offset < self.closed.stop and offset + length > self.closed.start
                    if is_closed and not self.fails:
                        self.waiting.append((unique, offset, length))
                        continue
                if is_closed:
                    self.answer(unique, error=errno.EIO)
                else:
                    self.read(unique, offset, length)
            elif operation in (RELEASE, FLUSH):
                self.answer(unique)
            elif operation not in NOBODY_WAITS:
                self.answer(unique, error=errno.ENOSYS)

    def read(self, unique, offset, length):
        self.answer(unique, os.pread(self.data, length, offset))

    def answer(self, unique, data=b"", error=0):
        try:
            os.write(self.device, struct.pack("=IiQ", 16 + len(data), -error, unique) + data)
        except OSError as failure:
            # The reader is gone.
            assert failure.errno in (errno.ENOENT, errno.ENODEV, errno.EBADF), failure
