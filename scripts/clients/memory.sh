#!/usr/bin/env bash
# Memory is what was written, to the page, by the server's own figures and by the kernel's; and it
# goes back to the system after a discard.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=10G
USED=$(stat_of .memoryUsed) RSS=$(rss)
mib() { awk -v bytes="$1" 'BEGIN { printf "%.2f MiB", bytes / 2 ^ 20 }'; }

write_pages() {
  python <<'EOF_PY'
from wire import *
import nbd, random
h = nbd.NBD()
h.connect_uri(f"nbd+unix:///data?socket={DIR}/nbd.sock")
rng = random.Random(1)
buffer, pages = nbd.Buffer.from_bytearray(bytearray(rng.randbytes(4096))), set()
for _ in range(25600):
    page = rng.randrange(h.get_size() // 4096)
    pages.add(page)
    while h.aio_in_flight() >= 64:
        h.poll(-1)
    def done(error):
        assert error.value == 0
        return 1
    h.aio_pwrite(buffer, page * 4096, done)
while h.aio_in_flight():
    h.poll(-1)
h.shutdown()
open(f"{DIR}/../pages", "w").write(str(len(pages)))
open(f"{DIR}/../tables", "w").write(str(len({page // 512 for page in pages})))
EOF_PY
}
# Each table of 512 entries is a page, and there is one for each 2 MiB that was written to, so here
# nearly as much as there can be for 10 GiB: 5,120 of them, and 11 above. The figure that is
# promised, 1.05 times, is for the data.
figures() {
  local data tables used resident
  data=$((4096 * $(cat "$WORK/pages"))) tables=$((4096 * ($(cat "$WORK/tables") + 11)))
  used=$(($(stat_of .memoryUsed) - USED)) resident=$(($(rss) - RSS))
  echo "figure:written $(mib $data) of distinct pages, in $(mib $tables) of tables"
  echo "figure:memoryUsed $(mib $used), resident $(mib $resident) more than before"
  equal "data of the disk" "$(data_of data)" "$data"
  at_most "memoryUsed" "$used" $((data * 105 / 100 + tables))
  at_most "resident memory" "$resident" $((data * 105 / 100 + tables + 4 * 2 ** 20))
}
trim() {
  local used resident _
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for at in range(0, w.size, 1 << 30):
    same(w.error(TRIM, at, 1 << 30), 0)
EOF_PY
  equal "data of the disk" "$(data_of data)" 0
  # Retired memory is free after a grace period, and at the system within a second or so.
  for _ in $(seq 100); do
    used=$(stat_of .memoryUsed) resident=$(($(rss) - RSS))
    [ "$used" -gt $((2 * 2 ** 20)) ] || [ "$resident" -gt $((8 * 2 ** 20)) ] || break
    sleep 0.1
  done
  echo "figure:memoryUsed $(mib "$used"), resident $(mib $resident) more than at the start"
  at_most "memoryUsed" "$used" $((2 * 2 ** 20))
  at_most "resident memory" "$resident" $((8 * 2 ** 20))
}
# 15 of each 16 MiB trimmed: what remains in between is 1/16.
comb() {
  local data used
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for at in range(0, 256 << 20, 16 << 20):
    w.write(at, b"\1" * (16 << 20))
    same(w.error(TRIM, at + (1 << 20), 15 << 20), 0)
EOF_PY
  for _ in $(seq 100); do
    used=$(($(stat_of .memoryUsed) - USED))
    [ "$used" -gt $((17 * 2 ** 20)) ] || break
    sleep 0.1
  done
  echo "figure:256 MiB written, 15 of each 16 trimmed: memoryUsed $(mib $used), ideal 16 MiB"
  equal "data of the disk" "$(data_of data)" $((16 * 2 ** 20))
  at_most "memoryUsed" "$used" $((17 * 2 ** 20))
}
# Reading, and writing zeroes that may be holes, takes nothing.
reading() {
  local before
  before=$(data_of data)
  nbdcopy "$(uri data)" null:
  qemu-io -f raw -c "read 5G 64M" -c "write -z -u 6G 1G" "$(uri data)" >/dev/null
  equal "data of the disk" "$(data_of data)" "$before"
}

check "25,600 random writes of 4 KiB into 10 GiB" write_pages
check "they take at most 1.05 times their bytes, and tables" figures
check "after a trim of all of it, at most 2 MiB are used, and the system has the rest" trim
check "15 of each 16 MiB trimmed" comb
check "reading takes no memory" reading
finish
