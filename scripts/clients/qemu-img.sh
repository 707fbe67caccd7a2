#!/usr/bin/env bash
# qemu-img: info, map, compare and convert, from and to qcow2.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=256M --create copy=256M --create larger=257M

# A qcow2 image with 96 MiB of data: at its beginning, across a 2 MiB boundary, at its end.
qemu-img create -q -f qcow2 "$WORK/image.qcow2" 256M
qemu-io -c "write -P 17 0 64M" -c "write -P 18 102398k 16M" -c "write -P 19 240M 16M" \
  "$WORK/image.qcow2" >/dev/null
# Its boundary is not one of a page: 102398 KiB begins in the middle of one.
WRITTEN=$((96 * 2 ** 20 + 4096))

convert() {
  qemu-img convert -n -W -m 8 -O raw "$WORK/image.qcow2" "$(uri data)"
  qemu-img compare -f qcow2 -F raw "$WORK/image.qcow2" "$(uri data)"
}
sparse() { equal data "$(data_of data)" "$WRITTEN"; }
info() {
  qemu-img info --output=json "$(uri data)" | tee "$WORK/info"
  jq -e '.["virtual-size"] == 268435456 and .format == "raw"' "$WORK/info"
}
map() {
  qemu-img map --output=json "$(uri data)" | tee "$WORK/map"
  equal data "$(jq '[.[] | select(.data) | .length] | add' "$WORK/map")" "$WRITTEN"
  equal zero "$(jq '[.[] | select(.zero) | .length] | add' "$WORK/map")" $((256 * 2 ** 20 - WRITTEN))
}
back() {
  qemu-img convert -f raw -O qcow2 "$(uri data)" "$WORK/back.qcow2"
  qemu-img compare -f qcow2 -F qcow2 "$WORK/image.qcow2" "$WORK/back.qcow2"
  qemu-img check -q "$WORK/back.qcow2"
}
across() {
  qemu-img convert -n -f raw -O raw "$(uri data)" "$(uri copy)"
  qemu-img compare -s -f raw -F raw "$(uri data)" "$(uri copy)"
}
# compare can tell: one byte differs, and the place is named.
differs() {
  qemu-io -f raw -c "write -P 99 123456789 1" "$(uri copy)"
  refused 'mismatch at offset 123456' qemu-img compare -f raw -F raw "$(uri data)" "$(uri copy)"
}
dd_part() {
  qemu-img dd -f raw -O raw bs=1M count=80 "if=$(uri data)" "of=$WORK/part"
  qemu-img convert -f qcow2 -O raw "$WORK/image.qcow2" "$WORK/raw"
  cmp -n $((80 * 2 ** 20)) "$WORK/part" "$WORK/raw"
}
larger() {
  qemu-img convert -n -f raw -O raw "$(uri data)" "$(uri larger)"
  qemu-img compare -f raw -F raw "$(uri data)" "$(uri larger)"
}

check "qemu-img convert: from qcow2, out of order" convert
check "qemu-img convert: keeps holes" sparse
check "qemu-img info" info
check "qemu-img map" map
check "qemu-img convert: to qcow2" back
check "qemu-img convert: disk to disk" across
check "qemu-img compare: finds one byte" differs
check "qemu-img dd" dd_part
check "qemu-img convert: to a larger disk" larger
finish
