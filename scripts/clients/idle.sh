#!/usr/bin/env bash
# 500 connections at rest are cheap, also after having transferred much, and the server lives on.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=64M
export LIMIT=$((64 * 1024))

check "500 idle connections cost less than 64 KiB each" python <<'EOF_PY'
from wire import *
import time
def rss():
    lines = open(f"/proc/{os.environ['SERVER']}/status")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
def settled(limit):
    """The growth in bytes for each connection, once buffers were given back: after a second at rest."""
    for _ in range(100):
        each = (rss() - before) / 500
        if each < limit:
            break
        time.sleep(0.1)
    return each
limit = int(os.environ["LIMIT"])
first = Wire().go("data")
first.write(0, b"\1" * (4 << 20))
first.read(0, 4 << 20)
before = rss()
idle = [Wire().go("data") for _ in range(500)]
fresh = settled(limit)
print(f"figure:fresh: {fresh / 1024:.1f} KiB of resident memory each")
for w in idle:  # through every buffer that a connection has
    w.request(READ, 0, 1 << 20)
    w.reply()
    w.write(0, b"\1" * (1 << 19))
used = settled(limit)
print(f"figure:after 1 MiB read and 512 KiB written: {used / 1024:.1f} KiB each")
for w in idle:
    same(w.read(100, 4), b"\1" * 4)
assert fresh < limit and used < limit, (fresh, used)
EOF_PY

check "500 clients come and go, three times" python <<'EOF_PY'
from wire import *
for _ in range(3):
    idle = [Wire().go("data") for _ in range(500)]
    for w in idle[::50]:
        same(w.read(0, 1), b"\1")
    for w in idle:
        w.close()
EOF_PY

alive() { nbdinfo --size "$(uri data)"; }
check "the server lives on" alive
finish
