#!/usr/bin/env bash
# Export names that fork: golden@job42 is made on the first connection and kept, golden@ goes with
# its connection.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create golden=1G --create other=1G
qemu-io -f raw -c "write -P 1 0 8M" "$(uri golden)" >/dev/null

names() { hm list --json | jq -r '[.[].name] | join(" ")'; }

# INFO, as nbdinfo --size sends it before it connects, must not make a disk: this one only looks.
only_looking() {
  python <<'EOF_PY'
from wire import *
w = Wire()
same(w.status(INFO, text("golden@looked") + b"\0\0"), ACK)
same(w.status(INFO, text("golden@") + b"\0\0"), ACK)
same(w.status(STRUCTURED_REPLY), ACK)
same(w.meta(LIST_META, "golden@looked", "base:")[0], ACK)
EOF_PY
  equal disks "$(names)" "golden other"
}
kept() {
  io golden@job42 "read -P 1 0 8M" "write -P 2 0 4k"
  equal disks "$(names)" "golden job42 other"
  # The same disk, under both names, and at once.
  io golden@job42 "read -P 2 0 4k" "write -P 3 4k 4k"
  io job42 "read -P 2 0 4k" "read -P 3 4k 4k"
  io golden "read -P 1 0 8M"
  equal origin "$(hm list --json | jq -r '.[] | select(.name == "job42").origin')" golden
  equal connections "$(hm list --json | jq '[.[].connections] | add')" 0
}
# As it was at the first connection: later writes to the origin are not seen.
not_renewed() {
  io golden "write -P 4 1M 1M"
  io golden@job42 "read -P 1 1M 1M"
  io golden@later "read -P 4 1M 1M"
  hm remove later
}
wrong_origin() { refused 'disk "job42" is a fork of "golden", not a fork of "other"' \
  qemu-img info "$(uri other@job42)"; }
not_a_fork() { refused '"golden" is no fork, not a fork of "other"' qemu-img info "$(uri other@golden)"; }
bad_names() {
  refused 'disk name "a b": contains " "' qemu-img info "$(uri 'golden@a%20b')"
  refused 'no disk is named "nosuch"' qemu-img info "$(uri nosuch@job)"
  equal disks "$(names)" "golden job42 other"
}
temporary() {
  python <<'EOF_PY'
from wire import *
import json, os, subprocess, time
def stat():
    return json.loads(subprocess.check_output(
        [os.environ["HUGEMEM"], "stat", "--json", "--directory", DIR]))
before = stat()["memoryUsed"]
forks = [Wire().go("golden@") for _ in range(3)]
listed = [disk["name"] for disk in stat()["disks"]]
for index, w in enumerate(forks):
    same(w.read(0, 2), b"\1\1")
    w.write(0, bytes([50 + index]) * (16 << 20))
for index, w in enumerate(forks):  # each its own
    same(w.read(16777215, 1), bytes([50 + index]))
    same(w.flags & 1 << 8, 0)  # so another connection would be another disk: no CAN_MULTI_CONN
# Not offered to clients that list: nobody else can have them.
same([p[4:] for kind, p in Wire().option(LIST) if kind == REP_SERVER], [b"golden", b"job42", b"other"])
assert stat()["memoryUsed"] >= before + (48 << 20)
forks[0].request(DISC)  # politely, by closing, and in the middle of a write
forks[1].close()
forks[2].request(WRITE, 0, 1 << 20, 0, b"x" * 70000)
forks[2].close()
for _ in range(100):
    after = stat()
    if len(after["disks"]) == 3 and after["memoryUsed"] <= before + (1 << 20):
        break
    time.sleep(0.1)
same([disk["name"] for disk in after["disks"]], ["golden", "job42", "other"])
assert after["memoryUsed"] <= before + (1 << 20), (before, after["memoryUsed"])
print(f"figure:listed meanwhile: {listed}; memoryUsed before {before}, with 48 MiB written and gone {after['memoryUsed']}")
EOF_PY
}
# 30 clients ask for the same new fork at once: one is made, for all.
at_once() {
  python <<'EOF_PY'
from wire import *
import threading
found = []
def client(index):
    w = Wire().go("golden@rush")
    w.write(4096 * index, bytes([index]) * 4096)
    found.append(w)
threads = [threading.Thread(target=client, args=(index,)) for index in range(30)]
for thread in threads: thread.start()
for thread in threads: thread.join()
same(len(found), 30)
for w in found:
    same(w.read(0, 4096 * 30), b"".join(bytes([index]) * 4096 for index in range(30)))
EOF_PY
}

check "INFO of golden@looked makes nothing" only_looking
check "golden@job42: made, kept, the same disk again" kept
check "golden@job42 stays as it was at the fork" not_renewed
check "other@job42: refused, with the reason" wrong_origin
check "other@golden: refused, with the reason" not_a_fork
check "bad names: refused, nothing made" bad_names
check "golden@: one each, gone with the connection, memory too" temporary
check "30 clients ask for golden@rush at once" at_once
finish
