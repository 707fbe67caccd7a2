#!/usr/bin/env bash
# Offsets and lengths: beyond the end, the largest, none at all. The right error, nothing changed, and
# the stream in step, with structured replies and without.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T --create odd=1000001

check "out of range: ENOSPC to write or zero, EINVAL to read, trim or ask" python <<'EOF_PY'
from wire import *
for name, structured in (("data", True), ("data", False), ("odd", True)):
    w = Wire().go(name, structured=structured)
    end = w.size
    for offset, length in ((end, 1), (end - 1, 2), (end - 4096, 4097), (end + 1, 1), (1 << 63, 4096),
                           ((1 << 64) - 1, 1), ((1 << 64) - 4096, 4096), ((1 << 64) - 1, 0)):
        payload = b"\xee" * length
        same(w.error(READ, offset, length), EINVAL)
        same(w.error(TRIM, offset, length), EINVAL)
        same(w.error(CACHE, offset, length), EINVAL)
        same(w.error(WRITE, offset, length, payload=payload), ENOSPC)
        same(w.error(WRITE_ZEROES, offset, length), ENOSPC)
        if structured:
            same(w.error(BLOCK_STATUS, offset, length), EINVAL)
    # A refused write leaves what is before the end alone.
    same(w.read(end - 4096, 4096), bytes(4096))
    same(w.error(WRITE_ZEROES, 0, (1 << 32) - 1), 0 if name == "data" else ENOSPC)
EOF_PY

check "payloads of 50 and 64 MiB, and one byte more, both ways" python <<'EOF_PY'
from wire import *
most = 64 << 20
for structured in (True, False):
    w = Wire().go("data", structured=structured)
    for length in (50 << 20, most):
        w.write(5, b"\x5a" * length)
        same(w.read(5, length) == b"\x5a" * length, True)
    for length in (most + 1, 80 << 20, (1 << 32) - 1):
        same(w.error(READ, 0, length), EINVAL)
    for length in (most + 1, 80 << 20, 100 << 20):
        same(w.error(WRITE, 0, length, payload=bytes(length)), EINVAL)
    same(w.read(0, 8), bytes(5) + b"\x5a" * 3)
    same(w.error(TRIM, 0, (1 << 32) - 1), 0)
EOF_PY

check "zero lengths change nothing and hurt nobody" python <<'EOF_PY'
from wire import *
for structured in (True, False):
    w = Wire().go("data", structured=structured)
    w.write(4096, b"\1" * 4096)
    for offset in (0, 4096, 5000, w.size):
        same(w.ask(READ, offset, 0).error, 0)
        for command in (WRITE, TRIM, WRITE_ZEROES, CACHE, FLUSH):
            same(w.error(command, offset, 0), 0)
        if structured:
            same(w.error(BLOCK_STATUS, offset, 0), EINVAL)
    same(w.read(4096, 4096), b"\1" * 4096)
EOF_PY

finish
