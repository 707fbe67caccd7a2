#!/usr/bin/env bash
# fio's nbd engine, with verification of every block: its header says where it belongs, so a block
# that went to another place is found as well as a torn one.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

if ! fio --enghelp 2>/dev/null | grep -w nbd >/dev/null; then
  skip fio "this fio has no nbd engine"
  finish; exit
fi
start --create data=256M

fio_nbd() {
  (cd "$WORK" && fio --ioengine=nbd --uri="$(uri data)" --randrepeat=0 --verify=crc32c \
    --verify_fatal=1 --output="$WORK/fio.json" --output-format=json "$@") || { head -n 30 "$WORK/fio.json"; return 1; }
}
# fio's own count: something was verified at all, and nothing failed.
verified() {
  jq -e --argjson wanted "$1" '.jobs | all(.error == 0) and
    (map(.read.total_ios) | add) >= $wanted' "$WORK/fio.json" >/dev/null || { head -n 30 "$WORK/fio.json"; return 1; }
}

random_4k() {
  fio_nbd --name=a --rw=randwrite --bs=4k --size=64M --iodepth=64
  verified 16384
}
mixed_sizes() {
  fio_nbd --name=b --rw=randwrite --bsrange=512-256k --bs_unaligned=0 --size=64M --offset=64M \
    --iodepth=16 --verify_interval=512
  verified 100
}
two_jobs() {
  fio_nbd --rw=randwrite --bs=4k --iodepth=32 --size=48M \
    --name=first --offset=128M --name=second --offset=176M
  jq -e '.jobs | length == 2' "$WORK/fio.json"
  verified 24576
}
# Of 32 MiB the second half is trimmed: zeros there, and the first half as it was.
trims() {
  fio_nbd --name=t --rw=write --bs=16k --size=32M --offset=224M --do_verify=0
  fio --ioengine=nbd --uri="$(uri data)" --name=u --rw=randtrim --bs=16k --iodepth=8 --size=16M \
    --offset=240M
  fio_nbd --name=t --rw=read --bs=16k --size=16M --offset=224M --iodepth=8
  verified 1024
  io data "read -P 0 240M 16M"
}
# Each fifth write is followed by a flush, and half of what runs are reads.
read_write() {
  fio_nbd --name=m --rw=randrw --bs=8k --size=32M --iodepth=32 --fsync=5
  verified 2048
}
# The test of the test: fio sees a byte changed behind its back.
damaged() {
  fio_nbd --name=d --rw=write --bs=4k --size=1M --do_verify=0
  qemu-io -f raw -c "write -P 255 70000 1" "$(uri data)"
  refused 'verify' fio --ioengine=nbd --uri="$(uri data)" --name=d --rw=read --bs=4k --size=1M \
    --verify=crc32c --verify_fatal=1 --aux-path="$WORK"
}

check "fio: random 4 KiB writes at depth 64" random_4k
check "fio: sizes from 512 bytes to 256 KiB" mixed_sizes
check "fio: two jobs on two halves" two_jobs
check "fio: trims" trims
check "fio: reads, writes and flushes" read_write
check "fio: a damaged block is found" damaged
finish
