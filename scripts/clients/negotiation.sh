#!/usr/bin/env bash
# What is negotiated and how it ends: metadata contexts, information, ABORT, the old EXPORT_NAME, and
# garbage.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1M --create other=2M

check "metadata contexts: wildcard, wrong ones, replaced, and for one export" python <<'EOF_PY'
from wire import *
w = Wire()
same(w.status(STRUCTURED_REPLY), ACK)
base = ["base:allocation"]
for queries, wanted in (((), base), (("base:",), base), (base, base), (("base:nosuch",), []),
                        (("qemu:dirty-bitmap:x",), []), (("base",), []), (("",), [])):
    same(w.meta(LIST_META, "data", *queries), (ACK, wanted))
for queries, wanted in (((), []), (("base:",), []), (base * 2, base), (("x:y", *base), base)):
    same(w.meta(SET_META, "data", *queries), (ACK, wanted))
same(w.meta(SET_META, "nosuch", *base)[0], UNKNOWN)

def can_status(*selections):
    w = Wire()
    w.status(STRUCTURED_REPLY)
    for export, queries in selections:
        w.meta(SET_META, export, *queries)
    w.go("data", structured=False)
    w.structured = True
    return w.error(BLOCK_STATUS, 0, 4096)
same(can_status(), EINVAL)
same(can_status(("data", base)), 0)
same(can_status(("data", base), ("data", ["base:nosuch"])), EINVAL)
same(can_status(("data", base), ("nosuch", base)), EINVAL)  # replaced even when it fails
same(can_status(("other", base)), EINVAL)
EOF_PY

check "INFO and GO: sizes, flags, block sizes, name, description" python <<'EOF_PY'
from wire import *
w = Wire()
replies = w.option(INFO, text("other") + struct.pack(">HHHHH", 4, 1, 2, 3, 999))
infos = {struct.unpack(">H", p[:2])[0]: p[2:] for kind, p in replies if kind == REP_INFO}
same(struct.unpack(">QH", infos[0])[0], 2 << 20)
same(struct.unpack(">III", infos[3]), (1, 4096, 32 << 20))
same((infos[1], infos[2]), (b"other", b"hugemem RAM disk"))
same(sorted(infos), [0, 1, 2, 3])
# SEND_DF only once structured replies are.
without, with_ = Wire().go("data", structured=False), Wire().go("data")
same(with_.flags & ~without.flags, 1 << 7)
EOF_PY

check "ABORT is acknowledged, then the server closes" python <<'EOF_PY'
from wire import *
w = Wire()
same(w.status(ABORT), ACK)
assert w.is_closed()
EOF_PY

check "EXPORT_NAME, the old way: with and without zeroes; an unknown name closes" python <<'EOF_PY'
from wire import *
for flags, zeroes in ((1, 124), (3, 0), (0, 124)):
    w = Wire(flags)
    w.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 5) + b"other")
    same(struct.unpack(">QH", w.take(10))[0], 2 << 20)
    same(w.take(zeroes), bytes(zeroes))
    w.write(1000, b"old way")
    same(w.read(1000, 7), b"old way")
w = Wire()
w.send(b"IHAVEOPT" + struct.pack(">II", EXPORT_NAME, 6) + b"nosuch")
assert w.is_closed()
EOF_PY

check "garbage closes its own connection, and no other" python <<'EOF_PY'
from wire import *
other = Wire().go("data")
other.write(0, b"in step")
for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(64), b"\xff" * 64):
    w = Wire()
    w.send(garbage)
    assert w.is_closed()
    w = Wire().go("data")
    w.send(garbage)
    assert w.is_closed()
assert Wire(flags=4).is_closed()  # a client flag that does not exist
same(other.read(0, 7), b"in step")
EOF_PY

finish
