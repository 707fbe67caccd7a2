#!/usr/bin/env bash
# Options by a client that says what libnbd would not: unknown, oversized, malformed, in pieces. After
# each refusal the same connection must go on.
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

finish
