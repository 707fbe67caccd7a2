#!/usr/bin/env bash
# A thousand forks in one call, then ten thousand: what each costs, and what is left of them in the
# end, nothing.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create golden=10G

thousand() {
  local before resident used each _
  head -c 256M /dev/urandom >"$WORK/in"
  nbdcopy "$WORK/in" "$(uri golden)"
  # Without what the background is still doing to it.
  for _ in $(seq 100); do
    [ "$(stat_of .disks[0].huge)" != $((256 * 2 ** 20)) ] || break
    sleep 0.1
  done
  hm shrink >/dev/null
  before=$(stat_of .memoryUsed) resident=$(rss)
  hm fork golden $(seq -f 'vm%g' 1000)
  used=$(stat_of .memoryUsed)
  each=$((($(rss) - resident) / 1000))
  echo "figure:1000 forks of 10 GiB with 256 MiB of data: each $(((used - before) / 1000)) bytes of frames, $each resident"
  at_most "frames of an idle fork" $(((used - before) / 1000)) 16384
  equal disks "$(hm list --json | jq length)" 1001
  at_most "resident memory of an idle fork" "$each" 16384
  local name
  for name in vm1 vm500 vm1000; do
    nbdcopy "$(uri "$name")" "$WORK/out"
    cmp -n $((256 * 2 ** 20)) "$WORK/in" "$WORK/out"
  done
  # Each written to: a page, and the tables above it.
  python <<'EOF_PY'
from wire import *
for index in range(1, 1001):
    w = Wire().go(f"vm{index}")
    w.write(index * 4096, struct.pack(">Q", index) * 512)
    w.close()
for index in range(1, 1001, 13):
    w = Wire().go(f"vm{index}")
    same(w.read(index * 4096, 8), struct.pack(">Q", index))
    w.close()
EOF_PY
  used=$(stat_of .memoryUsed)
  echo "figure:with one page written to each: $(((used - before) / 1000)) bytes each"
  at_most "memory of a fork with a page of its own" $(((used - before) / 1000)) 32768
}
# In ten calls: their names must fit a command line. All are listed, by name and with their figures.
ten_thousand() {
  local before used
  before=$(stat_of .memoryUsed)
  seq -f 'vm%g' 1001 10000 | xargs -n 1000 "$HUGEMEM" fork --directory "$DIR" golden
  equal disks "$(hm list --json | jq length)" 10001
  equal lines "$(hm list | grep -c '^vm.* golden$')" 10000
  used=$(stat_of .memoryUsed)
  at_most "frames of an idle fork" $(((used - before) / 9000)) 16384
}
all_removed() {
  # With their clients just gone, which the server may not have noticed.
  local used _
  for _ in $(seq 50); do hm remove golden $(seq -f 'vm%g' 1000) && break; sleep 0.1; done
  seq -f 'vm%g' 1001 10000 | xargs -n 1000 "$HUGEMEM" remove --directory "$DIR"
  for _ in $(seq 50); do used=$(stat_of .memoryUsed); [ "$used" -gt $((2 ** 20)) ] || break; sleep 0.1; done
  at_most "memory used by no disks" "$used" $((2 ** 20))
}

check "1000 forks in one call" thousand
check "10,000 forks, all listed" ten_thousand
check "all removed: no memory is left" all_removed
finish
