#!/usr/bin/env bash
# qemu-io: patterns written and verified, zeroes with and without unmap, discards, flushes.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=64M

patterns() {
  io data "write -P 1 0 64k" "write -P 2 1M 3M" "write -P 3 4095 2" "write -P 4 33554431 1" \
    "read -P 2 1M 3M" "read -P 1 0 4095" "read -P 3 4095 2" "read -P 1 4097 61439" \
    "read -P 4 33554431 1" "read -P 0 16M 8M"
}
# The test of the test: a wrong pattern is noticed.
wrong_pattern() { ! io data "read -P 9 0 64k"; }
# Without -u qemu asks for NO_HOLE: the memory stays reserved.
zeroes() {
  local before after
  io data "write -P 5 8M 4M"
  before=$(data_of data)
  io data "write -z 8M 4M" "read -P 0 8M 4M" "write -P 6 9M 4k" "read -P 6 9M 4k" "read -P 0 9220k 1M"
  after=$(data_of data)
  equal data "$after" "$before"
}
unmap() {
  local before
  before=$(data_of data)
  io data "write -z -u 8M 4M" "read -P 0 8M 4M"
  equal data "$(data_of data)" $((before - 4 * 2 ** 20))
}
# Of 3 bytes only: the neighbours stay.
part() { io data "write -P 7 20M 8k" "write -z -u 20971619 3" "read -P 7 20M 99" "read -P 0 20971619 3" "read -P 7 20971622 4k"; }
discards() {
  local before
  io data "write -P 8 24M 4M"
  before=$(data_of data)
  io data "discard 25M 2M" "flush" "read -P 8 24M 1M" "read -P 0 25M 2M" "read -P 8 27M 1M"
  equal data "$(data_of data)" $((before - 2 * 2 ** 20))
}
fua() { io data "write -f -P 10 40M 64k" "read -P 10 40M 64k" "write -z -f 40M 4k" "read -P 0 40M 4k"; }
# Many at once, then all verified.
together() {
  io data "aio_write -P 11 48M 1M" "aio_write -P 12 49M 1M" "aio_write -P 13 50M 1M" \
    "aio_write -z 51M 1M" "aio_flush" \
    "aio_read -P 11 48M 1M" "aio_read -P 12 49M 1M" "aio_read -P 13 50M 1M" "aio_read -P 0 51M 1M" \
    "aio_flush"
}
vectors() { io data "writev -P 14 56M 512 1k 4k 64k" "readv -P 14 56M 64k 4k 1k 512"; }

check "qemu-io: write, read -P" patterns
check "qemu-io: a wrong pattern is found" wrong_pattern
check "qemu-io: write -z keeps memory reserved" zeroes
check "qemu-io: write -z -u gives memory back" unmap
check "qemu-io: write -z -u of 3 bytes" part
check "qemu-io: discard, flush" discards
check "qemu-io: write -f" fua
check "qemu-io: requests side by side" together
check "qemu-io: vectors" vectors
finish
