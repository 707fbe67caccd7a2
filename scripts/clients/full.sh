#!/usr/bin/env bash
# The memory limit is reached: writes get ENOSPC, all else goes on, and a discard makes room.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --memory 64M --create big=10G --create other=1G
qemu-io -f raw -c "write -P 33 0 4M" "$(uri other)" >/dev/null

check "writes until ENOSPC, by 4 KiB and by 1 MiB; what was acknowledged is there" python <<'EOF_PY'
from wire import *
for length in (1 << 20, 4096):
    w, done = Wire().go("big"), 0
    while True:
        data = struct.pack(">Q", done + 1) * (length // 8)
        error = w.error(WRITE, done * length, length, 0, data)
        if error:
            break
        done += 1
        assert done * length <= 64 << 20, "more than the limit was written"
    same(error, ENOSPC)
    assert done * length >= 50 << 20, f"full after {done * length} bytes already"
    print(f"figure:{done * length >> 20} MiB in writes of {length} bytes fit beside 4 MiB, of 64 MiB")
    # The same connection goes on, in step; nothing but the refused write is in doubt.
    for index in range(done):
        same(w.read(index * length, length) == struct.pack(">Q", index + 1) * (length // 8), True)
    # Memory that is there already can be rewritten.
    w.write(0, b"\xaa" * length)
    same(w.read(0, length), b"\xaa" * length)
    same(w.error(WRITE_ZEROES, 8 << 30, 32 << 20, NO_HOLE), ENOSPC)
    same(w.read((8 << 30) + (31 << 20), 1 << 20) == bytes(1 << 20), True)
    same(w.error(WRITE, 9 << 30, 32 << 20, 0, bytes(32 << 20)), ENOSPC)
    same(w.read(0, length), b"\xaa" * length)
    for at in range(0, 10 << 30, 1 << 30):
        same(w.error(TRIM, at, 1 << 30), 0)
EOF_PY

fill() {
  refused 'No space left' \
    bash -c "head -c 100M /dev/urandom | nbdcopy - '$(uri big)'"
}
others() {
  io other "read -P 33 0 4M" "write -P 34 0 4M" "read -P 34 0 4M"
  nbdinfo "$(uri other)" >/dev/null
  hm list
  hm stat
}
limit_kept() { at_most "memory used" "$(stat_of .memoryUsed)" "$(stat_of .memoryLimit)"; }
# Empty disks, forks and connections may or may not fit; the answer is clear, and nothing breaks.
more_disks() {
  local name
  for name in $(seq 200); do
    hm fork other "f$name" >"$WORK/fork" 2>&1 || { grep -q 'memory limit' "$WORK/fork"; break; }
  done
  cat "$WORK/fork"
  hm remove $(hm list --json | jq -r '.[].name | select(startswith("f"))')
}
import_too_large() {
  local before after
  head -c 100M /dev/urandom >"$WORK/image"
  before=$(hm list --json)
  refused 'memory limit' hm import more "$WORK/image"
  after=$(hm list --json)
  equal "the list" "$after" "$before"
}
room_again() {
  io big "discard 0 64M" "write -P 35 1G 40M" "read -P 35 1G 40M"
}
# A fork needs memory of its own as it is written; full, its origin stays as it is.
forks() {
  hm fork big child
  qemu-io -f raw -c "write -P 36 1G 40M" "$(uri child)" 2>&1 | tee "$WORK/io" || true # its status
  grep -q 'No space left' "$WORK/io"
  io big "read -P 35 1G 40M"
  hm remove child
}
removed() {
  hm remove big
  hm create big --size 10G
  io big "write -P 37 0 50M" "read -P 37 0 50M"
}

check "nbdcopy of too much: ENOSPC" fill
check "full: other disks can be read, rewritten, listed" others
check "full: memory used is within the limit" limit_kept
check "full: forks are made or refused, clearly" more_disks
check "full: an import is refused and leaves nothing behind" import_too_large
check "a discard makes room again" room_again
check "full: a fork's write is refused, its origin is sound" forks
check "a removal makes room again" removed
finish
