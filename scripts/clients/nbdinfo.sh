#!/usr/bin/env bash
# What libnbd's nbdinfo sees: sizes, flags, the list, the map of a sparse disk.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1T --create tiny=513
# 64 KiB of data at 1 MiB, and 4 KiB as the disk's last; the rest is a hole.
qemu-io -f raw -c "write -P 7 1M 64k" -c "write -P 7 $((2 ** 40 - 4096)) 4k" "$(uri data)" >/dev/null

as_text() {
  nbdinfo "$(uri data)" | tee "$WORK/info"
  grep -q 'export-size: 1099511627776 (1T)' "$WORK/info"
  grep -q 'protocol: newstyle-fixed without TLS, using structured packets' "$WORK/info"
  grep -q 'base:allocation' "$WORK/info"
  for flag in can_flush can_fua can_trim can_zero can_fast_zero can_df can_cache can_multi_conn; do
    grep -q "$flag: true" "$WORK/info" || { echo "no $flag"; return 1; }
  done
  grep -q 'is_read_only: false' "$WORK/info"
  for size in 'minimum: 1' 'preferred: 4096' 'maximum: 33554432'; do
    grep -q "block_size_$size" "$WORK/info" || { echo "no block_size_$size"; return 1; }
  done
}
as_json() {
  nbdinfo --json "$(uri data)" >"$WORK/info"
  cat "$WORK/info"
  jq -e '.exports[0] | .["export-name"] == "data" and .["export-size"] == 1099511627776
    and .description == "hugemem RAM disk" and .contexts == ["base:allocation"]' "$WORK/info"
}
# Three columns that matter: offset, length, type (0 data, 3 hole and zero).
map() {
  equal map "$(nbdinfo --map "$(uri data)" | awk '{ print $1, $2, $3 }' | paste -sd ';')" \
    "0 1048576 3;1048576 65536 0;1114112 1099510509568 3;1099511623680 4096 0"
}
totals() {
  nbdinfo --map --totals "$(uri data)" | tee "$WORK/totals"
  equal data "$(awk '$3 == 0 { print $1 }' "$WORK/totals")" $((65536 + 4096))
}
# An odd size: neither a multiple of a sector nor of a page.
sizes() {
  equal data "$(nbdinfo --size "$(uri data)")" 1099511627776
  equal tiny "$(nbdinfo --size "$(uri tiny)")" 513
  equal map "$(nbdinfo --map "$(uri tiny)" | awk '{ print $1, $2, $3 }')" "0 513 3"
}
listed() {
  equal list "$(nbdinfo --list --json "$(uri '')" | jq -c '[.exports[]."export-name"] | sort')" \
    '["data","tiny"]'
}
asks() {
  nbdinfo --can flush "$(uri data)"
  nbdinfo --can multi-conn "$(uri data)"
  ! nbdinfo --is read-only "$(uri data)"
}

check "nbdinfo: text" as_text
check "nbdinfo --json" as_json
check "nbdinfo --map" map
check "nbdinfo --map --totals" totals
check "nbdinfo --size, of an odd size too" sizes
check "nbdinfo --list" listed
check "nbdinfo --can, --is" asks
check "nbdinfo: no such disk" refused 'No such file' nbdinfo "$(uri nosuch)"
# libnbd keeps the server's words to itself; qemu passes them on.
check "no such disk: the server says why" \
  refused 'no disk is named "nosuch"' qemu-img info "$(uri nosuch)"
check "an empty name, and two disks: the server says why" \
  refused 'the empty export name means the only disk, and there are 2' qemu-img info "$(uri '')"
finish
