#!/usr/bin/env bash
# Requests that are wrong or only odd: commands and flags unknown, many in one piece. The right error,
# nothing changed, and the stream in step.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T

check "unknown commands and flags: EINVAL" python <<'EOF_PY'
from wire import *
for structured in (True, False):
    w = Wire().go("data", structured=structured)
    for command in (RESIZE, 9, 255, 65535):
        same(w.error(command, 0, 4096), EINVAL)
    # The flags that each command has; every other bit is refused.
    known = {READ: FUA | (DF if structured else 0), WRITE: FUA, FLUSH: FUA, TRIM: FUA, CACHE: FUA,
             WRITE_ZEROES: FUA | NO_HOLE | FAST_ZERO}
    if structured:
        known[BLOCK_STATUS] = FUA | REQ_ONE
    for command, flags in known.items():
        payload = bytes(4096) if command == WRITE else b""
        for flag in (1 << bit for bit in range(16)):
            length = 0 if command == FLUSH else 4096
            same((command, flag, w.error(command, 0, length, flag, payload)),
                 (command, flag, 0 if flag & flags else EINVAL))
    same(w.error(BLOCK_STATUS, 0, 4096), 0 if structured else EINVAL)
EOF_PY

check "FAST_ZERO with NO_HOLE is not supported; either alone is" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
w.write(8192, b"\1" * 8192)
same(w.error(WRITE_ZEROES, 8192, 8192, FAST_ZERO | NO_HOLE), ENOTSUP)
same(w.read(8192, 8192), b"\1" * 8192)  # and nothing happened
same(w.error(WRITE_ZEROES, 8192, 4096, FAST_ZERO), 0)
same(w.error(WRITE_ZEROES, 12288, 4096, NO_HOLE | FUA), 0)
same(w.read(8192, 8192), bytes(8192))
same(w.ask(BLOCK_STATUS, 8192, 8192).extents(), [(4096, 3), (4096, 0)])
EOF_PY

check "a thousand requests in one piece, good and bad, answered each" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
rows = []
for cookie in range(1000):
    kind = cookie % 5
    command, offset, length, payload, wanted = (
        (WRITE, cookie * 513, 4, struct.pack(">I", cookie), 0), (WRITE, w.size, 70, b"w" * 70, ENOSPC),
        (READ, w.size, 1, b"", EINVAL), (99, 0, 0, b"", EINVAL), (READ, 0, 4096, b"", 0))[kind]
    rows.append((struct.pack(">IHHQQI", 0x25609513, 0, command, cookie, offset, length) + payload, wanted))
w.send(b"".join(row for row, _ in rows))
got = {}
for _ in rows:
    reply = w.reply()
    got[reply.cookie] = reply.error
same(got, {cookie: wanted for cookie, (_, wanted) in enumerate(rows)})
same(all(w.read(c * 513, 4) == struct.pack(">I", c) for c in range(0, 1000, 5)), True)
EOF_PY

check "libnbd, its own checks off: the same errors" python <<'EOF_PY'
from wire import *
import errno, nbd
h = nbd.NBD()
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(f"nbd+unix:///data?socket={DIR}/nbd.sock")
def error(call, *arguments, **more):
    try:
        call(*arguments, **more)
        return 0
    except nbd.Error as failure:
        return failure.errnum
end = h.get_size()
same(error(h.pwrite, b"x" * 4096, end - 1), errno.ENOSPC)
same(error(h.zero, 4096, end), errno.ENOSPC)
same(error(h.trim, 4096, end), errno.EINVAL)
same(error(h.block_status, 4096, end, lambda *_: 0), errno.EINVAL)
same(error(h.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE), errno.ENOTSUP)
same(bytes(h.pread(4096, end - 4096)), bytes(4096))
h.shutdown()
EOF_PY

finish
