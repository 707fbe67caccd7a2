#!/usr/bin/env bash
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create golden=10G

names() { hm list --json | jq -r '[.[].name] | join(" ")'; }

# A chain of 20; each writes its own page over its parent's.
chain() {
  io golden "write -P 100 0 8M"
  local parent=golden depth
  for depth in $(seq 20); do
    hm fork "$parent" "chain$depth"
    io "chain$depth" "write -P $depth ${depth}M 4k"
    parent=chain$depth
  done
  for depth in 1 7 20; do
    io chain20 "read -P $depth ${depth}M 4k" "read -P 100 8188k 4k"
    [ "$depth" = 20 ] || io "chain$depth" "read -P $depth ${depth}M 4k" "read -P $([ "$depth" -lt 7 ] && echo 100 || echo 0) $((depth + 1))M 4k"
  done
  io golden "read -P 100 0 8M" "read -P 0 8M 16M"
}
parents_removed() {
  hm remove golden $(seq -f 'chain%g' 19)
  equal disks "$(names)" chain20
  local depth
  for depth in $(seq 20); do io chain20 "read -P $depth ${depth}M 4k"; done
  io chain20 "read -P 100 0 1M" "read -P 100 8188k 4k"
}
all_removed() {
  hm remove chain20
  local used _
  for _ in $(seq 50); do used=$(stat_of .memoryUsed); [ "$used" -gt $((2 ** 20)) ] || break; sleep 0.1; done
  at_most "memory used by no disks" "$used" $((2 ** 20))
}
# One client writes numbered pages in order, waiting for each answer, while forks are taken: each
# fork holds 1 to some n, all of them, and n is at least what was acknowledged before the fork.
live() {
  hm create live --size 1G
  python <<'EOF_PY'
from wire import *
import os, subprocess, threading
acknowledged, stop = [0], threading.Event()
def writer():
    w, number = Wire().go("live"), 0
    while not stop.is_set() and number < 200_000:
        w.write(4096 * (number % 200_000), struct.pack(">Q", number + 1) * 512)
        number += 1
        acknowledged[0] = number
thread = threading.Thread(target=writer)
thread.start()
floors = []
for index in range(15):
    floors.append(acknowledged[0])
    subprocess.check_call([os.environ["HUGEMEM"], "fork", "live", f"live{index}", "--directory", DIR])
stop.set()
thread.join()
for index, floor in enumerate(floors):
    w = Wire().go(f"live{index}")
    data = bytearray()
    for at in range(0, 4096 * (acknowledged[0] + 2), 8 << 20):
        data += w.read(at, 8 << 20)
    numbers = [struct.unpack_from(">Q", data, at)[0] for at in range(0, len(data), 4096)]
    count = numbers.index(0)
    same(numbers[:count], list(range(1, count + 1)))
    same(set(numbers[count:]), {0})
    assert floor <= count <= acknowledged[0], (floor, count)
print(f"figure:forks of a live disk hold {floors[0]} to {count} of {acknowledged[0]} pages")
EOF_PY
}
reset_connected() {
  hm create base --size 64M
  io base "write -P 7 0 8M"
  hm fork base work
  python <<'EOF_PY'
from wire import *
import os, subprocess
w = Wire().go("work")
for _ in range(3):
    w.write(0, b"\x08" * (16 << 20))
    same(w.error(TRIM, 6 << 20, 1 << 20), 0)
    subprocess.check_call([os.environ["HUGEMEM"], "reset", "work", "--directory", DIR])
    same(w.read(0, 8 << 20) == b"\7" * (8 << 20), True)
    same(w.read(8 << 20, 8 << 20) == bytes(8 << 20), True)
EOF_PY
  # To the state at the fork, not to what the origin is now; and without the origin as well.
  io base "write -P 9 0 8M"
  hm remove base
  io work "write -P 8 0 8M"
  hm reset work
  io work "read -P 7 0 8M"
  equal "own memory after a reset" "$(hm stat --json work | jq '.disks[0].data')" $((8 * 2 ** 20))
}
remove_connected() {
  python <<'EOF_PY'
from wire import *
import os, subprocess
w = Wire().go("work")
done = subprocess.run([os.environ["HUGEMEM"], "remove", "live0", "work", "--directory", DIR],
                      capture_output=True, text=True)
assert done.returncode != 0 and 'disk "work" has 1 connected client' in done.stderr, done
same(w.read(0, 1), b"\7")
EOF_PY
  hm list --json | jq -e 'any(.name == "live0")' # all or none
}
nothing_by_halves() {
  hm remove $(names)
  hm create a --size 1G
  hm create taken --size 1G
  refused 'disk "taken" exists already' hm fork a b c taken d
  refused 'disk "b" exists already' hm fork a b b
  refused 'disk "a" is not a fork' hm reset a
  equal disks "$(names)" "a taken"
}

check "forks of forks, 20 deep" chain
check "parents are removed, the last fork has everything" parents_removed
check "all removed: no memory is left" all_removed
check "forks of a disk that is being written to: a moment each" live
check "reset with a client connected" reset_connected
check "removal of a connected disk is refused" remove_connected
check "a batch that cannot be is not done by halves" nothing_by_halves
finish
