#!/usr/bin/env bash
# nbdcopy: a file to a disk and back, over several connections; holes stay holes both ways.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=300M --create again=300M --create odd=1000003

# 300 MiB, a third of it random data: in 1 MiB pieces with holes between, and odd bytes besides.
truncate -s 300M "$WORK/in"
for at in $(seq 0 3 297); do
  dd if=/dev/urandom of="$WORK/in" bs=1M count=1 seek="$at" conv=notrunc status=none
done
printf odd | dd of="$WORK/in" bs=1 seek=$((2 * 2 ** 20 + 4095)) conv=notrunc status=none
# The odd bytes lie across two pages.
WRITTEN=$((100 * 2 ** 20 + 2 * 4096))

there() {
  nbdcopy --connections=4 --requests=32 "$WORK/in" "$(uri data)"
  nbdcopy --flush "$(uri data)" - | cmp - "$WORK/in"
}
# The block that --sparse looks at is 4 KiB, so not a page more than was written.
holes() { equal data "$(data_of data)" "$WRITTEN"; }
back() {
  nbdcopy --connections=4 "$(uri data)" "$WORK/out"
  cmp "$WORK/in" "$WORK/out"
  at_most "blocks of the copy, in bytes" $(($(stat -c %b "$WORK/out") * 512)) $((WRITTEN + 2 ** 20))
}
# Both ends are disks here, and the holes are known by their extents alone.
across() {
  nbdcopy --connections=4 "$(uri data)" "$(uri again)"
  nbdcopy "$(uri again)" - | cmp - "$WORK/in"
  equal data "$(data_of again)" "$WRITTEN"
}
# Over what is there already: zeros must be written, or trimmed, not left out.
over() {
  head -c 300M /dev/urandom | nbdcopy - "$(uri again)"
  equal "data before" "$(data_of again)" $((300 * 2 ** 20))
  nbdcopy --connections=4 "$WORK/in" "$(uri again)"
  nbdcopy "$(uri again)" - | cmp - "$WORK/in"
}
allocated() {
  nbdcopy --allocated "$WORK/in" "$(uri again)"
  nbdcopy "$(uri again)" - | cmp - "$WORK/in"
}
odd_size() {
  head -c 1000003 /dev/urandom >"$WORK/odd"
  nbdcopy --synchronous "$WORK/odd" "$(uri odd)"
  nbdcopy "$(uri odd)" - | cmp - "$WORK/odd"
}

check "nbdcopy: file to disk, 4 connections" there
check "nbdcopy: holes take no memory" holes
check "nbdcopy: disk to file, sparse and equal" back
check "nbdcopy: disk to disk, 4 connections" across
check "nbdcopy: over old data" over
check "nbdcopy --allocated: equal as well" allocated
check "nbdcopy: a size of no round number" odd_size
finish
