# Sourced by the demo and the client tests: one server in a directory of its own, and results
# that are counted. Needs $HUGEMEM, the binary; `make` sets it.

: "${HUGEMEM:?set HUGEMEM to the hugemem binary, or use make}"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/hugemem.XXXXXX")
DIR=$WORK/run
SERVER=
LIBRARY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export DIR SERVER HUGEMEM
# What is compared and matched below is English.
export LC_ALL=C

# start [OPTION...]: starts a server and waits until it is ready.
start() {
  : >"$WORK/server.out"
  "$HUGEMEM" serve --directory "$DIR" "$@" >"$WORK/server.out" 2>"$WORK/server.err" &
  SERVER=$!
  for _ in $(seq 200); do
    grep -q ': ready' "$WORK/server.out" && return 0
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.05
  done
  echo "the server did not start:" >&2
  cat "$WORK/server.err" >&2
  return 1
}

# stop: SIGTERM; returns the server's exit status. One that does not end in 10 s is killed: 137.
stop() {
  local server=$SERVER
  SERVER=
  [ -n "$server" ] || return 0
  kill -TERM "$server" 2>/dev/null || true
  for _ in $(seq 200); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$server" 2>/dev/null || true
  wait "$server"
}

# at_exit COMMAND...: to be done at the end, whatever happens, before the server is gone.
AT_EXIT=:
at_exit() { AT_EXIT="$*; $AT_EXIT"; }
cleanup() {
  eval "$AT_EXIT" || true
  if [ -n "$SERVER" ]; then
    kill -KILL "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  rm -rf "$WORK"
}
trap cleanup EXIT

hm() { local command=$1; shift; "$HUGEMEM" "$command" --directory "$DIR" "$@"; }
uri() { echo "nbd+unix:///$1?socket=$DIR/nbd.sock"; }
# stat_of JQ-EXPRESSION: from `hugemem stat --json`.
stat_of() { hm stat --json | jq -r "$1"; }
# io DISK COMMAND...: qemu-io's commands over one connection. It exits with 1 where a pattern is not
# what is there, and tells of other failures in words.
io() {
  local disk=$1 arguments=() command; shift
  for command; do arguments+=(-c "$command"); done
  qemu-io -f raw "${arguments[@]}" "$(uri "$disk")" | tee "$WORK/io"
  ! grep -Eqi 'fail|error|mismatch' "$WORK/io"
}
# data_of DISK: the bytes of memory with data that it sees.
data_of() { hm stat --json "$1" | jq '.disks[0].data'; }
# rss: the server's resident memory in bytes, as the kernel counts it.
rss() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$SERVER/status"; }
# python: runs the script on standard input by the system's Python, which has libnbd; `wire` is a
# client for requests that libnbd would not send.
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$LIBRARY/clients/support /usr/bin/python3 -; }
have() { command -v "$1" >/dev/null; }

# Results. In a function for `check` mind that bash goes on after a `! command` or an `a && b` that
# fails, unless it is the last. A test file calls `check NAME COMMAND...` or `skip NAME REASON`, and `finish` at its end.
PASSED=0 FAILED=0 SKIPPED=0
check() {
  local name=$1 status; shift
  # The command in a subshell of its own, stopping at its first failure. Not as the condition of
  # an `if`: there, bash ignores `set -e` in all that is called.
  set +e
  (set -euo pipefail; "$@") >"$WORK/check.log" 2>&1
  status=$?
  set -e
  if [ "$status" = 0 ]; then
    PASSED=$((PASSED + 1)); echo "ok    $name"
    # Lines that begin with "figure:" are for people.
    sed -n 's/^figure:/        /p' "$WORK/check.log"
  else
    FAILED=$((FAILED + 1)); echo "FAIL  $name"; sed 's/^/      | /' "$WORK/check.log"
    [ ! -s "$WORK/server.err" ] || tail -n 5 "$WORK/server.err" | sed 's/^/      server: /'
  fi
}
skip() { SKIPPED=$((SKIPPED + 1)); echo "skip  $1: $2"; }
# equal WHAT GOT WANTED; at_most WHAT GOT LIMIT: say what they saw when they fail.
equal() { [ "$2" = "$3" ] || { echo "$1: is $2, should be $3"; return 1; }; }
at_most() { [ "$2" -le "$3" ] || { echo "$1: is $2, should be at most $3"; return 1; }; }
# falls_to LIMIT SECONDS COMMAND...: waits until the number that COMMAND prints is at most LIMIT, but no
# longer than SECONDS; sets FALLEN to the last one and MS to the milliseconds. Nothing is asserted.
falls_to() {
  local limit=$1 begin end; shift
  begin=$(date +%s%N)
  end=$((begin + $1 * 10 ** 9)); shift
  while FALLEN=$("$@"); [ "$FALLEN" -gt "$limit" ] && [ "$(date +%s%N)" -lt "$end" ]; do sleep 0.02; done
  MS=$((($(date +%s%N) - begin) / 10 ** 6))
}
# refused PATTERN COMMAND...: fails as a command should, with a message that has PATTERN in it; what
# is always said of the usage does not count.
refused() {
  local pattern=$1 status=0 said; shift
  said=$("$@" 2>&1 </dev/null) || status=$?
  echo "\$ $*"; echo "$said"
  [ "$status" -gt 0 ] && [ "$status" -lt 128 ] || { echo "exit status $status"; return 1; }
  grep -Ev '^ *(Usage|Help|See) ?' <<<"$said" | grep -Eqi -- "$pattern" || { echo "the message lacks: $pattern"; return 1; }
}
finish() {
  if [ -n "$SERVER" ]; then
    local status=0
    stop || status=$?
    check "clean shutdown on SIGTERM" stopped_cleanly "$status"
  fi
  echo "clients: $PASSED passed, $FAILED failed, $SKIPPED skipped"
  [ "$FAILED" = 0 ]
}
stopped_cleanly() {
  equal "exit status" "$1" 0
  equal "what is left in the directory" "$(ls "$DIR")" lock
}
