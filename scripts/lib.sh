# Sourced by the demo and the client tests: one server in a directory of its own, and results
# that are counted. Needs $HUGEMEM, the binary; `make` sets it.

: "${HUGEMEM:?set HUGEMEM to the hugemem binary, or use make}"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/hugemem.XXXXXX")
DIR=$WORK/run
SERVER=

# start [OPTION...]: starts a server and waits until it is ready.
start() {
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

# stop: SIGTERM; returns the server's exit status.
stop() {
  local server=$SERVER
  SERVER=
  [ -n "$server" ] || return 0
  kill -TERM "$server" && wait "$server"
}

cleanup() {
  [ -z "$SERVER" ] || kill -KILL "$SERVER" 2>/dev/null || true
  rm -rf "$WORK"
}
trap cleanup EXIT

hm() { local command=$1; shift; "$HUGEMEM" "$command" --directory "$DIR" "$@"; }
uri() { echo "nbd+unix:///$1?socket=$DIR/nbd.sock"; }
# stat_of JQ-EXPRESSION: from `hugemem stat --json`.
stat_of() { hm stat --json | jq -r "$1"; }
have() { command -v "$1" >/dev/null; }

# Results. A test file calls `check NAME COMMAND...` or `skip NAME REASON`, and `finish` at its end.
PASSED=0 FAILED=0 SKIPPED=0
check() {
  local name=$1; shift
  # The command in a subshell of its own, stopping at its first failure.
  if (set -euo pipefail; "$@") >"$WORK/check.log" 2>&1; then
    PASSED=$((PASSED + 1)); echo "ok    $name"
  else
    FAILED=$((FAILED + 1)); echo "FAIL  $name"; sed 's/^/      | /' "$WORK/check.log"
  fi
}
skip() { SKIPPED=$((SKIPPED + 1)); echo "skip  $1: $2"; }
finish() {
  if [ -n "$SERVER" ]; then check "clean shutdown on SIGTERM" stopped_cleanly; SERVER=; fi
  echo "clients: $PASSED passed, $FAILED failed, $SKIPPED skipped"
  [ "$FAILED" = 0 ]
}
stopped_cleanly() {
  kill -TERM "$SERVER"
  for _ in $(seq 100); do
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.05
  done
  ! kill -0 "$SERVER" 2>/dev/null
  [ ! -e "$DIR/nbd.sock" ] && [ ! -e "$DIR/control.sock" ]
}
