#!/usr/bin/env bash
# BLOCK_STATUS over a disk of 1 TiB, by the largest requests, at its very end, with REQ_ONE and
# without.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T --create odd=1000001 --create many=64M

check "BLOCK_STATUS of 1 TiB, at most 4 GiB - 1 at a time" python <<'EOF_PY'
from wire import *
w = Wire().go("data")
w.write(1 << 20, b"x" * 65536)
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
         [(1 << 20, 65536), ((600 << 30) + 8192, 4096), (w.size - 4096, 4096)])
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
