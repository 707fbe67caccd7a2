#!/usr/bin/env bash
# READ, structured and simple, with DF and without, over holes and data: a model says what each answer
# must be.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T --create odd=1000001

check "READ: holes come as holes, data as data" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
w.write(1 << 20, b"\1" * 65536)
w.write((1 << 20) + 131072, b"\2" * 100)
wanted = bytes(4096) + b"\1" * 65536 + bytes(65536) + b"\2" * 100 + bytes(100000)
same(w.read((1 << 20) - 4096, len(wanted)) == wanted, True)
kinds = [kind for kind, _ in w.ask(READ, (1 << 20) - 4096, len(wanted)).chunks]
same(kinds, [2, 1, 2, 1, 2])
# A hole of the largest length costs 32 bytes on the wire.
same([(k, len(p)) for k, p in w.ask(READ, 1 << 30, 32 << 20).chunks], [(2, 12)])
EOF_PY

check "READ with DF: one chunk, whatever it spans, up to the largest" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for offset, length in (((1 << 20) - 4096, 1), ((1 << 20) - 5000, 65536), (0, 2 << 20), (0, 32 << 20)):
    reply = w.ask(READ, offset, length, DF)
    same([(kind, len(payload)) for kind, payload in reply.chunks], [(1, length + 8)])
    same(reply.chunks[0][1][8:] == w.read(offset, length), True)
EOF_PY

check "READ of every alignment, against a model" python <<'EOF_PY'
from wire import *
import random
rng = random.Random(4)
for structured in (True, False):
    w = Wire().go("odd", structured=structured)
    w.ask(TRIM, 0, w.size)
    model = bytearray(w.size)
    for _ in range(1500):
        offset = rng.randrange(w.size)
        length = min(w.size - offset, rng.choice((1, 7, 512, 4096, 4097, 16384, 16385, 70000, 300000)))
        act = rng.randrange(4)
        if act == 0:
            model[offset : offset + length] = data = rng.randbytes(length)
            w.write(offset, data, rng.choice((0, FUA)))
        elif act == 1:
            model[offset : offset + length] = bytes(length)
            same(w.error(WRITE_ZEROES, offset, length, rng.choice((0, NO_HOLE, FAST_ZERO))), 0)
        elif act == 2 and structured:
            same(w.read(offset, length, DF) == model[offset : offset + length], True)
        else:
            same(w.read(offset, length) == model[offset : offset + length], True)
    same(w.read(0, w.size) == model, True)
EOF_PY

finish
