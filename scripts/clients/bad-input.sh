#!/usr/bin/env bash
# Commands that cannot be carried out: each says which option or field is wrong and why, exits with
# a failure, and changes nothing.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1G --create taken=1M
hm fork taken child
head -c 1M /dev/urandom >"$WORK/raw"
qemu-img create -q -f qcow2 "$WORK/image.qcow2" 1M
qemu-img create -q -f vmdk "$WORK/image.vmdk" 1M
: >"$WORK/empty"
mkdir "$WORK/folder"

BEFORE=$(hm list --json)
# bad PATTERN COMMAND [ARGUMENT...]: refused with a message like PATTERN, and nothing changed.
bad() {
  refused "$1" hm "${@:2}"
  equal "the list afterwards" "$(hm list --json)" "$BEFORE"
}

sizes() {
  local size
  for size in '' x 1X -1 1.3 1e9 0x10 ' ' 9E 99999999999999999999 8388608T 1G1 1..5G; do
    bad '--size' create new "--size=$size"
  done
  bad 'size of 0 bytes' create new --size 0
  bad 'size of .* bytes cannot be had' create new --size 8000P
  bad '--size' create new
}
names() {
  local name
  for name in 'a b' a/b ../up .hidden 'ä' a@b "$(printf 'n%.0s' $(seq 256))"; do
    bad 'disk name ' create --size 1M -- "$name"
    bad 'disk name ' import -- "$name" "$WORK/raw"
    bad 'disk name ' fork data -- fine "$name"
  done
  bad 'disk name "": is empty' create '' --size 1M
}
existing() {
  bad 'disk "taken" exists already' create taken --size 1M
  bad 'disk "taken" exists already' import taken "$WORK/raw"
  bad 'disk "taken" exists already' fork data new taken
}
missing() {
  bad 'no disk is named "nosuch"' fork nosuch new
  bad 'no disk is named "nosuch"' reset nosuch
  bad 'no disk is named "nosuch"' remove data nosuch
  bad 'no disk is named "nosuch"' stat nosuch
  bad 'no disk is named "nosuch"' export nosuch "$WORK/out"
  [ ! -e "$WORK/out" ] && [ ! -e "$WORK/out.partial" ]
  bad 'disk "data" is not a fork' reset data
  bad 'name' fork data
  bad 'names?' remove
  bad '(size|unexpected|unknown)' create new --size 1M extra
  refused "Unexpected argument 'frob'" "$HUGEMEM" frob
}
files() {
  bad "$WORK/nosuch: No such file" import new "$WORK/nosuch"
  bad "$WORK/folder: is neither a file nor" import new "$WORK/folder"
  bad "/dev/null: is neither a file nor" import new /dev/null
  bad "$WORK/empty: is empty" import new "$WORK/empty"
  bad 'is a qcow2 image.*qemu-img convert' import new "$WORK/image.qcow2"
  bad 'is a vmdk image' import new "$WORK/image.vmdk"
  bad "$WORK/nosuch/out" export data "$WORK/nosuch/out"
  bad "$WORK/folder: exists and is not a file" export data "$WORK/folder"
  bad "/dev/null: exists and is not a file" export data /dev/null
  [ -c /dev/null ]
}
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
  serve 'nosuch' --nosuch
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
  refused "--directory $WORK/raw: is not a directory" "$HUGEMEM" serve --directory "$WORK/raw"
  ln -s "$DIR" "$WORK/link"
  refused "--directory $WORK/link: is not a directory" "$HUGEMEM" serve --directory "$WORK/link"
  refused "directory $WORK/no/where: No such" "$HUGEMEM" serve --directory "$WORK/no/where"
  local long
  long=$WORK/$(printf 'd%.0s' $(seq 100))
  refused 'longer than 107 bytes' "$HUGEMEM" serve --directory "$long"
  refused 'too long' "$HUGEMEM" list --directory "$long"
}
second() {
  refused "--directory $DIR: another hugemem serves there" "$HUGEMEM" serve --directory "$DIR"
  equal "the list afterwards" "$(hm list --json)" "$BEFORE"
  nbdinfo --size "$(uri data)"
}
alone() {
  local command
  for command in "list" "stat" "shrink" "create x --size 1M" "fork a b" "remove a" "reset a"; do
    refused "no server answers in $WORK/nobody" "$HUGEMEM" $command --directory "$WORK/nobody"
  done
  [ ! -e "$WORK/nobody" ]
}

check "sizes" sizes
check "names" names
check "names that exist" existing
check "disks that do not exist, arguments missing or too many" missing
check "files" files
check "serve: options" options
check "serve: a TCP port in use" tcp_in_use
check "serve: a TCP host that is none" tcp_host
check "serve: directories" directories
check "serve: a second server in the same directory" second
check "commands without a server" alone
finish
