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
# resident_within LIMIT SECONDS WHAT: waits until the server's resident memory is at most LIMIT bytes
# more than at its start, and prints how long that took; nothing is asserted of times but that it
# comes to an end.
resident_within() {
  local resident used
  falls_to $((RSS + $1)) "$2" rss
  resident=$((FALLEN - RSS))
  used=$(($(stat_of .memoryUsed) - USED))
  echo "figure:$3: resident $(mib $resident) more than at the start ($(mib $((resident + RSS))) in all), memoryUsed $(mib $used), $MS ms after the last trim"
  at_most "resident memory more than at the start, $2 s after the last trim" "$resident" "$1"
}
# 15 of each 16 MiB trimmed: what remains in between is 1/16, and all else is the system's again.
comb() {
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for at in range(0, 1 << 30, 1 << 20):
    w.write(at, struct.pack(">Q", at + 1) * (1 << 17))
for at in range(0, 1 << 30, 16 << 20):
    same(w.error(TRIM, at + (1 << 20), 15 << 20), 0)
EOF_PY
  resident_within $((66 * 2 ** 20)) 10 "1 GiB written, 15 of each 16 MiB trimmed"
  equal "data of the disk" "$(data_of data)" $((64 * 2 ** 20))
  at_most "memoryUsed" $(($(stat_of .memoryUsed) - USED)) $((66 * 2 ** 20))
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for at in range(0, 1 << 30, 16 << 20):
    same(w.read(at, 1 << 20) == struct.pack(">Q", at + 1) * (1 << 17), True)
    same(w.read(at + (1 << 20), 1 << 20) == bytes(1 << 20), True)
same(w.error(TRIM, 0, 1 << 30), 0)
EOF_PY
}
# Pages written in a random order lie side by side in memory with others from anywhere. All but each
# 512th are trimmed: one page and one table stay of each 2 MiB, and the frames around them must go
# back although hardly any 2 MiB of frames are free as a whole.
scattered() {
  # As pages: collapsed ones would be in order again.
  hm tune khugepaged/scan_sleep_millisecs=60000 >/dev/null
  python <<'EOF_PY'
from wire import *
import nbd, random
h = nbd.NBD()
h.connect_uri(f"nbd+unix:///data?socket={DIR}/nbd.sock")
pages = list(range(1 << 18))
random.Random(2).shuffle(pages)
def done(error):
    assert error.value == 0
    return 1
for page in pages:
    while h.aio_in_flight() >= 64:
        h.poll(-1)
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(struct.pack(">Q", page + 1) * 512)), page * 4096, done)
while h.aio_in_flight():
    h.poll(-1)
for page in range(0, 1 << 18, 512):
    h.trim(511 * 4096, (page + 1) * 4096)
h.shutdown()
EOF_PY
  # The kept pages are 2 MiB, their tables another 2, and the frames that a table or page keeps from
  # going back are in the core caches.
  resident_within $((12 * 2 ** 20)) 10 "1 GiB written in random pages, all but each 512th trimmed"
  equal "data of the disk" "$(data_of data)" $((2 * 2 ** 20))
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for page in range(0, 1 << 18, 512):
    same(w.read(page * 4096, 8192) == struct.pack(">Q", page + 1) * 512 + bytes(4096), True)
same(w.error(TRIM, 0, 1 << 30), 0)
EOF_PY
  hm tune khugepaged/scan_sleep_millisecs=1000 >/dev/null
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
check "1 GiB written, 15 of each 16 MiB trimmed: 64 MiB are resident" comb
check "1 GiB in random pages, all but each 512th trimmed: those are resident" scattered
check "reading takes no memory" reading
finish
