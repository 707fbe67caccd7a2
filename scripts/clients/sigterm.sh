#!/usr/bin/env bash
# SIGTERM and SIGINT in the middle of things: status 0, no sockets left, clients told by the end of
# their connection; after SIGKILL a new server takes over the directory.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

# Keeps the server busy until it is gone: writers and readers, and one that forks all the time.
busy() {
  local _
  for _ in 1 2 3; do
    (while nbdcopy --connections=4 "$WORK/image" "$(uri data)"; do :; done) >/dev/null 2>&1 &
    (while nbdcopy --connections=2 "$(uri data@)" null:; do :; done) >/dev/null 2>&1 &
  done
  (while hm fork data passing && hm remove passing; do :; done) >/dev/null 2>&1 &
}
connected() { hm list --json | jq '[.[].connections] | add'; }
# Waits until they really work: connections there, and memory used.
under_way() {
  local _
  for _ in $(seq 200); do
    [ "$(connected)" -ge 6 ] && [ "$(stat_of .memoryUsed)" -gt $((2 ** 20)) ] && return
    sleep 0.02
  done
  echo "the clients did not begin"; return 1
}
stopped_by() {
  local status=0
  kill "-$1" "$SERVER"
  stop || status=$?
  check "SIG$1 with clients at work" stopped_cleanly "$status"
  wait # their loops end with the server
}

head -c 64M /dev/urandom >"$WORK/image"
for signal in TERM INT; do
  start --create data=64M --tcp 127.0.0.1:0
  busy
  check "clients at work" under_way
  stopped_by "$signal"
done

start --create data=1G
{ kill -KILL "$SERVER" && wait "$SERVER"; } 2>/dev/null || true
SERVER=
check "after SIGKILL its sockets are still there" test -S "$DIR/nbd.sock"
check "commands then say that nobody answers" refused 'no server answers' hm list
start --create new=1M
check "a new server takes over" equal size "$(nbdinfo --size "$(uri new)")" $((2 ** 20))
finish
