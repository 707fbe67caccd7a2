#!/usr/bin/env bash
# The negotiation, by a client that says what libnbd would not: options unknown, oversized, out of
# order and malformed. After each refusal the same connection must go on.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1M --create other=2M

check "unknown options: UNSUP, and in step" python <<'EOF_PY'
from wire import *
w = Wire()
for code in (0, 4, STARTTLS, EXTENDED, 12, 99, 1 << 31, (1 << 32) - 1):
    for payload in (b"", b"x", b"IHAVEOPT" * 100):
        same([kind for kind, _ in w.option(code, payload)], [UNSUP])
w.go("data")
w.write(0, b"in step")
same(w.read(0, 7), b"in step")
EOF_PY

check "oversized options are skipped: to the byte" python <<'EOF_PY'
from wire import *
w = Wire()
for size in (65537, 1 << 20, 20 << 20):
    for code in (GO, LIST, 77):
        w.send(b"IHAVEOPT" + struct.pack(">II", code, size))
        left = size
        while left:
            left -= w.socket.send(b"IHAVEOPT" * 4096 if left >= 32768 else bytes(left))
        same(w.answers(code)[-1][0], TOO_BIG)
w.go("data")
same(w.read(0, 4096)[7:], bytes(4089))
EOF_PY

check "malformed options: INVALID, and in step" python <<'EOF_PY'
from wire import *
w = Wire()
same(w.status(LIST, b"x"), INVALID)
same(w.status(STRUCTURED_REPLY, b"x"), INVALID)
same(w.meta(SET_META, "data", "base:allocation")[0], INVALID)  # before structured replies
same(w.status(STRUCTURED_REPLY), ACK)
# No room for the length, a length beyond the end, a list too short, one too long, bad UTF-8.
for payload in (b"", b"\0", text("data"), text("data") + b"\0\1", b"\xff" * 100,
                text("data") + b"\0\0rest", b"\0\0\0\2\xc3\x28\0\0", b"\0\0\x10\1" + b"a" * 4097 + b"\0\0"):
    same(w.status(GO, payload), INVALID)
    same(w.status(INFO, payload), INVALID)
for payload in (b"", text("data"), text("data") + b"\xff\xff\xff\xff",
                text("data") + b"\0\0\0\1", text("data") + b"\0\0\0\1" + text("base:allocation") + b"x"):
    same(w.status(SET_META, payload), INVALID)
    same(w.status(LIST_META, payload), INVALID)
for name in ("nosuch", "da", "data2", "DATA", "nosuch@", "nosuch@fork"):
    same(w.status(GO, text(name) + b"\0\0"), UNKNOWN)
for name in ("data@a b", "data@.hidden", "data@x@y", "data@" + "n" * 256, "data@/etc/passwd"):
    same(w.status(GO, text(name) + b"\0\0"), INVALID)
w.go("data")
EOF_PY

check "an option sent byte by byte, and several in one piece" python <<'EOF_PY'
from wire import *
w = Wire()
for byte in b"IHAVEOPT" + struct.pack(">II", INFO, 10) + text("data") + b"\0\0":
    w.send(bytes([byte]))
same(w.answers(INFO)[-1][0], ACK)
w.send((b"IHAVEOPT" + struct.pack(">II", LIST, 0)) * 100)
for _ in range(100):
    same([kind for kind, _ in w.answers(LIST)], [REP_SERVER, REP_SERVER, ACK])
w.go("data")
EOF_PY

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
