#!/usr/bin/env bash
# TCP: a free port is taken and told, by IPv4 and IPv6, beside the Unix socket.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

address() { sed -n 's|^ *over TCP: nbd://\(.*\)/NAME$|\1|p' "$WORK/server.out"; }

port() {
  cat "$WORK/server.out"
  [[ $(address) =~ ^127\.0\.0\.1:([0-9]+)$ ]]
  [ "${BASH_REMATCH[1]}" -gt 0 ]
}
info() {
  equal size "$(nbdinfo --size "nbd://$(address)/data")" $((2 ** 30))
  nbdinfo --list "nbd://$(address)" | grep 'export="data"'
}
copy() {
  head -c 64M /dev/urandom >"$WORK/in"
  nbdcopy --connections=4 "$WORK/in" "nbd://$(address)/data"
  nbdcopy --connections=4 "nbd://$(address)/data" "$WORK/out"
  cmp -n $((64 * 2 ** 20)) "$WORK/in" "$WORK/out"
}
# One disk, whichever way.
both() {
  qemu-io -f raw -c "write -P 3 64M 1M" "nbd://$(address)/data"
  io data "read -P 3 64M 1M"
}
fork_name() {
  qemu-io -f raw -c "write -P 4 0 1M" -c "read -P 4 0 1M" "nbd://$(address)/data@job"
  cmp <(nbdcopy "$(uri data)" - | head -c 1M) <(head -c 1M "$WORK/in")
}
six() { [[ $(address) =~ ^\[::1\]:[0-9]+$ ]]; equal size "$(nbdinfo --size "nbd://$(address)/data")" $((2 ** 30)); }
# Nobody but this machine is listened to.
bound() {
  local port=${1##*:}
  awk -v port="$(printf '%04X' "$port")" '$4 == "0A" && $2 ~ ":" port "$"' /proc/net/tcp | tee "$WORK/bound"
  equal address "$(awk '{ print $2 }' "$WORK/bound")" "0100007F:$(printf '%04X' "$port")"
}

start --tcp 127.0.0.1:0 --create data=1G
check "--tcp 127.0.0.1:0: the port taken is told" port
check "it listens on that address alone" bound "$(address)"
check "nbdinfo over TCP" info
check "nbdcopy over TCP, 4 connections" copy
check "the same disk by TCP and by the Unix socket" both
check "a fork by its name over TCP" fork_name
AGAIN=$(address)
status=0; stop || status=$?
check "clean shutdown, TCP too" stopped_cleanly "$status"
# With connections of a moment ago in TIME_WAIT.
start --tcp "$AGAIN" --create data=1G
check "the same port again at once" equal address "$(address)" "$AGAIN"
status=0; stop || status=$?
check "clean shutdown again" stopped_cleanly "$status"
if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
  start --tcp '[::1]:0' --create data=1G
  check "IPv6" six
else
  skip "IPv6" "this machine has none"
fi
finish
