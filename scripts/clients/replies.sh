#!/usr/bin/env bash
# Structured replies: READ with and without DF, BLOCK_STATUS with and without REQ_ONE, over holes,
# the largest requests and the end of a disk of 1 TiB. A model says what each answer must be.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T --create odd=1000001 --create many=64M

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

check "BLOCK_STATUS of 1 TiB, at most 4 GiB - 1 at a time" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
w.write((600 << 30) + 8192, b"x")
w.write(w.size - 1, b"x")
for step in ((1 << 32) - 1, 1 << 31, (1 << 32) - 4096):
    at, extents, calls = 0, [], 0
    while at < w.size:
        length = min(step, w.size - at)
        got = w.ask(BLOCK_STATUS, at, length).extents()
        assert got and all(length > 0 for length, _ in got)
        for length, flags in got:
            # A request's end may cut an extent in two.
            if extents and extents[-1][1] == flags:
                extents[-1] = (extents[-1][0], flags, extents[-1][2] + length)
            else:
                extents.append((at, flags, length))
            at += length
        calls += 1
    same(at, w.size)
    assert calls <= (1 << 40) // step + 20, calls
    same([(at, length) for at, flags, length in extents if flags == 0],
         [(1 << 20, 65536), ((1 << 20) + 131072, 4096), ((600 << 30) + 8192, 4096), (w.size - 4096, 4096)])
EOF_PY

check "BLOCK_STATUS at the very end, and of an odd size" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
same(w.ask(BLOCK_STATUS, w.size - 1, 1).extents(), [(1, 0)])
same(w.ask(BLOCK_STATUS, w.size - 8192, 8192).extents(), [(4096, 3), (4096, 0)])
w = Wire().go("odd")
same(w.error(TRIM, 0, w.size), 0)
w.write(w.size - 1, b"x")
got = w.ask(BLOCK_STATUS, 0, w.size).extents()
same(got, [(w.size // 4096 * 4096, 3), (w.size % 4096, 0)])
EOF_PY

check "REQ_ONE: one extent within the request; else many, up to a limit, going on" python <<'EOF_PY'
from wire import *
w = Wire().go("many")
for page in range(0, 16384, 2):
    w.request(WRITE, page * 4096, 1, 0, b"x", cookie=page)
    if page % 512 == 510:
        for _ in range(256):
            same(w.reply().error, 0)
same(w.ask(BLOCK_STATUS, 0, w.size, REQ_ONE).extents(), [(4096, 0)])
same(w.ask(BLOCK_STATUS, 100, 50, REQ_ONE).extents(), [(50, 0)])
same(w.ask(BLOCK_STATUS, 4100, w.size - 4100, REQ_ONE).extents(), [(4092, 3)])
at, pieces = 0, 0
while at < w.size:
    for length, flags in w.ask(BLOCK_STATUS, at, w.size - at).extents():
        same((length, flags), (4096, 3 * (at // 4096 % 2)))
        at += length
        pieces += 1
same((at, pieces), (w.size, 16384))
EOF_PY

finish
