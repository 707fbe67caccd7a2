#!/usr/bin/env bash
# What one client does to itself is no other's business: ended in the middle of a write, never
# reading, never saying a word, slow.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=64M

check "gone in the middle of a write: no other page changes, others go on" python <<'EOF_PY'
from wire import *
other = Wire().go("data")
other.write(0, b"\1" * (4 << 20))
for sent in (0, 1, 4095, 4096, 300_000, 1_000_000):
    w = Wire().go("data")
    w.request(WRITE, 1 << 20, 2 << 20, 0, b"\2" * sent)
    w.close()
    # What came of the write may be there up to what was sent, and nothing may be torn otherwise.
    got = other.read(0, 4 << 20)
    same((got[: 1 << 20], got[(1 << 20) + 1_000_000 :]),
         (b"\1" * (1 << 20), b"\1" * (3 * (1 << 20) - 1_000_000)))
    same(set(got) <= {1, 2}, True)
    part = got[1 << 20 : (1 << 20) + 1_000_000]
    same(part.lstrip(b"\2").strip(b"\1"), b"")  # first new bytes, then old ones
other.write(1 << 20, b"\3" * 4096)
same(other.read(1 << 20, 4096), b"\3" * 4096)
EOF_PY

check "gone within a request's head, and within an option" python <<'EOF_PY'
from wire import *
for count in range(28):
    w = Wire().go("data")
    w.send(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 4096)[:count])
    w.close()
for count in range(0, 20, 3):
    w = Wire()
    w.send((b"IHAVEOPT" + struct.pack(">II", GO, 10) + text("data"))[:count])
    w.close()
same(Wire().go("data").read(0, 1), b"\1")
EOF_PY

check "a reader that never reads stops nobody, nor the shutdown" python <<'EOF_PY'
from wire import *
stuck = [Wire().go("data") for _ in range(20)]
for w in stuck:
    for _ in range(8):
        w.request(READ, 0, 4 << 20)  # 32 MiB each: more than any socket holds
    w.request(WRITE, 8 << 20, 4096, 0, b"\7" * 4096)
other = Wire().go("data")
for index in range(200):
    other.write(16 << 20, struct.pack(">Q", index) * 512)
    same(other.read(16 << 20, 8), struct.pack(">Q", index))
# It holds frames that were there when it asked: overwritten and trimmed now, by others.
other.write(0, b"\4" * (4 << 20))
same(other.error(TRIM, 0, 4 << 20), 0)
same(other.read(0, 4096), bytes(4096))
# And once it reads at last it is served to the end, in step, with nothing but what once was there.
w = stuck[0]
for _ in range(8):
    reply = w.reply()
    same(reply.error, 0)
    for kind, payload in reply.chunks:
        same(set(payload[8:]) - {0, 1, 2, 3, 4} if kind == 1 else set(), set())
same(w.reply().error, 0)
same(other.read(8 << 20, 4096), b"\7" * 4096)
EOF_PY

check "clients that say nothing stop nobody" python <<'EOF_PY'
from wire import *
silent = [Wire() for _ in range(50)]
half = [Wire().go("data") for _ in range(50)]
for w in half:
    w.request(WRITE, 0, 1 << 20, 0, b"\5" * 5000)
w = Wire().go("data")
same(w.error(TRIM, 32 << 20, 1 << 20), 0)
same(w.read(32 << 20, 1), b"\0")
EOF_PY

check "a write in drops, a byte each, and a read in sips" python <<'EOF_PY'
from wire import *
w = Wire().go("data", structured=False)
w.request(WRITE, 123, 6000)
for _ in range(6000):
    w.send(b"\6")
same(w.reply().error, 0)
w.request(READ, 123, 6000)
same(struct.unpack(">I", w.take(4))[0], 0x67446698)
w.take(12)
same(b"".join(w.take(1) for _ in range(6000)), b"\6" * 6000)
EOF_PY

check "after all that, nobody is connected" python <<'EOF_PY'
import json, os, subprocess, time
for _ in range(100):  # the server learns of a client's end a little later
    disks = json.loads(subprocess.check_output(
        [os.environ["HUGEMEM"], "list", "--json", "--directory", os.environ["DIR"]]))
    if disks[0]["connections"] == 0:
        break
    time.sleep(0.1)
assert disks[0]["connections"] == 0, disks
EOF_PY

# The shutdown below finds such clients still there. This one ends with the server.
python >/dev/null <<'EOF_PY' &
from wire import *
stuck = [Wire().go("data") for _ in range(5)]
for w in stuck:
    w.write(0, b"\1" * (4 << 20))
    for _ in range(8):
        w.request(READ, 0, 4 << 20)
idle = [Wire(timeout=60) for _ in range(5)]
open(f"{DIR}/../stuck", "w").close()
idle[0].is_closed()
EOF_PY
for _ in $(seq 200); do [ ! -e "$WORK/stuck" ] || break; sleep 0.05; done
check "stuck readers are there" test -e "$WORK/stuck"
finish
