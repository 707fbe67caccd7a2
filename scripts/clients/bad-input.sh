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
  equal "files made" "$(find "$WORK" -name 'out*')" ""
  bad 'disk "data" is not a fork' reset data
  bad '<names>' fork data
  bad '<names>' remove
  bad "unexpected argument 'extra'" create new --size 1M extra
  refused "Unexpected argument 'frob'" "$HUGEMEM" frob
}
files() {
  bad "$WORK/nosuch: No such file" import new "$WORK/nosuch"
  bad "$WORK/folder: is a directory" import new "$WORK/folder"
  bad "/dev/null: ended before its first byte" import new /dev/null
  bad "$WORK/empty: is empty" import new "$WORK/empty"
  bad 'is a qcow2 image.*qemu-img convert' import new "$WORK/image.qcow2"
  bad 'is a vmdk image' import new "$WORK/image.vmdk"
  bad "$WORK/nosuch/out" export data "$WORK/nosuch/out"
  bad "$WORK/folder: is a directory" export data "$WORK/folder"
  hm export data /dev/null && [ -c /dev/null ]
}
alone() {
  local command
  for command in "list" "stat" "shrink" "create x --size 1M" "fork a b" "remove a" "reset a"; do
    refused "no server answers in $WORK/nobody" "$HUGEMEM" $command --directory "$WORK/nobody"
  done
  [ ! -e "$WORK/nobody" ]
}

# The control socket is for this program alone; what else comes gets an answer, or the end.
garbage() {
  python <<'EOF_PY'
from wire import *
for line in (b"", b"{}", b"[1]", b"null", b'"list"', b'{"create":{}}', b'{"create":{"name":1,"size":-1}}', b"\xff\xfe",
             b'{"fork":{"source":"data","names":"x"}}', b"[" * 100_000, b"x" * 1_000_000):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(f"{DIR}/control.sock")
    s.sendall(line + b"\n")
    answer = s.recv(1 << 20)
    assert b'"failure"' in answer, (line[:50], answer)
s = socket.socket(socket.AF_UNIX)  # one that says nothing stays in nobody's way
s.connect(f"{DIR}/control.sock")
EOF_PY
  equal "the list afterwards" "$(hm list --json)" "$BEFORE"
}

check "sizes" sizes
check "names" names
check "names that exist" existing
check "disks that do not exist, arguments missing or too many" missing
check "files" files
check "garbage on the control socket" garbage
check "commands without a server" alone
finish
