# The demo sources this. It has one server in a directory of its own. Needs $HUGEMEM, the binary,
# which `make` sets.

: "${HUGEMEM:?set HUGEMEM to the hugemem binary, or use make}"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/hugemem.XXXXXX")
DIR=$WORK/run
SERVER=
export DIR SERVER HUGEMEM
# The scripts compare and match English text.
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

# stop: sends SIGTERM, and returns the server's exit status. A server that does not end in 10 s is
# killed; the status is then 137.
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

cleanup() {
  if [ -n "$SERVER" ]; then
    kill -KILL "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  rm -rf "$WORK"
}
trap cleanup EXIT

hm() { local command=$1; shift; "$HUGEMEM" "$command" --directory "$DIR" "$@"; }
uri() { echo "nbd+unix:///$1?socket=$DIR/nbd.sock"; }
# stat_of JQ-EXPRESSION: prints a part of `hugemem stat --json`.
stat_of() { hm stat --json | jq -r "$1"; }
have() { command -v "$1" >/dev/null; }
