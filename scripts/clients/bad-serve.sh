#!/usr/bin/env bash
# Servers that cannot start: each says which option is wrong and why, exits with a failure, and leaves
# no socket behind; one that runs is not disturbed.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1G
BEFORE=$(hm list --json)
: >"$WORK/file"
qemu-img create -q -f qcow2 "$WORK/image.qcow2" 1M

# serve PATTERN OPTION...: in a directory of its own, does not start.
serve() {
  local directory=$WORK/other
  refused "$1" timeout 20 "$HUGEMEM" serve --directory "$directory" "${@:2}" || return 1
  equal "sockets left" "$(find "$directory" -name '*.sock' 2>/dev/null || true)" ""
}
options() {
  local text
  for text in 10809 host: :10809 127.0.0.1:65536 127.0.0.1:-1 127.0.0.1:http ''; do
    serve '--tcp' "--tcp=$text"
  done
  for text in x =1G x=0 x=1X 'a b=1G' x=; do serve "--create $text" --create "$text"; done
  serve '--create x=2G.*exists already' --create x=1G --create x=2G
  serve '--import x=nosuch.*No such file' --import x=nosuch
  serve '--import x: write NAME=FILE' --import x
  serve '--import x=.*qcow2' --import "x=$WORK/image.qcow2"
  serve '--memory' --memory 12Q
  serve '--memory' --memory 1K
  serve '--memory' --memory 4000P
  serve '--log-level' --log-level loud
  serve "unknown option '--nosuch'" --nosuch
}
tcp_in_use() {
  /usr/bin/python3 -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); time.sleep(30)' >"$WORK/port" &
  local holder=$! _
  for _ in $(seq 100); do [ ! -s "$WORK/port" ] || break; sleep 0.05; done
  local status=0
  serve "--tcp.*$(cat "$WORK/port").*in use" --tcp "127.0.0.1:$(cat "$WORK/port")" || status=$?
  kill "$holder"
  return "$status"
}
tcp_host() { serve '--tcp.*nosuch.invalid' --tcp nosuch.invalid:1; }
directories() {
  mkdir -m 0755 "$WORK/open"
  refused "--directory $WORK/open: must be yours" "$HUGEMEM" serve --directory "$WORK/open"
  equal mode "$(stat -c %a "$WORK/open")" 755
  refused "--directory $WORK/file: is not a directory" "$HUGEMEM" serve --directory "$WORK/file"
  ln -s "$DIR" "$WORK/link"
  refused "--directory $WORK/link: is not a directory" "$HUGEMEM" serve --directory "$WORK/link"
  refused "directory $WORK/no/where: No such" "$HUGEMEM" serve --directory "$WORK/no/where"
  local long
  long=$WORK/$(printf 'd%.0s' $(seq 100))
  refused 'too long' "$HUGEMEM" serve --directory "$long"
  refused 'too long' "$HUGEMEM" list --directory "$long"
}
second() {
  refused "--directory $DIR: another hugemem serves there" "$HUGEMEM" serve --directory "$DIR"
  equal "the list afterwards" "$(hm list --json)" "$BEFORE"
  nbdinfo --size "$(uri data)"
}
check "serve: options" options
check "serve: a TCP port in use" tcp_in_use
check "serve: a TCP host that is none" tcp_host
check "serve: directories" directories
check "serve: a second server in the same directory" second
finish
