#!/usr/bin/env bash
# Images in and out: holes and zeros take no memory, an export is sparse, equal and whole or absent.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create busy=64M

# 1 GiB: 8 MiB of data at 100 MiB, 8 MiB of written zeros at 200 MiB, one byte at the end.
truncate -s 1G "$WORK/image"
dd if=/dev/urandom of="$WORK/image" bs=1M seek=100 count=8 conv=notrunc status=none
dd if=/dev/zero of="$WORK/image" bs=1M seek=200 count=8 conv=notrunc status=none
printf x | dd of="$WORK/image" bs=1 seek=$((2 ** 30 - 1)) conv=notrunc status=none
DATA=$((8 * 2 ** 20 + 4096))

imported() {
  hm import data "$WORK/image" >"$WORK/stdout" 2>"$WORK/stderr"
  equal data "$(data_of data)" $DATA
  equal size "$(nbdinfo --size "$(uri data)")" $((2 ** 30))
  nbdcopy "$(uri data)" - | cmp - "$WORK/image"
}
# Without a terminal neither command says a thing when all is well.
quiet() { equal "what was said" "$(cat "$WORK/stdout" "$WORK/stderr")" ""; }
progress() {
  script -qec "'$HUGEMEM' import shown '$WORK/image' --directory '$DIR'" /dev/null </dev/null | tee "$WORK/shown"
  grep -q 'import shown  100 %  1 GiB of 1 GiB' "$WORK/shown"
}
exported() {
  hm export data "$WORK/out" >"$WORK/stdout" 2>"$WORK/stderr"
  cmp "$WORK/image" "$WORK/out"
  # An import keeps zeros apart from data, so the export has fewer blocks than the image.
  at_most "the export's blocks, in bytes" $(($(stat -c %b "$WORK/out") * 512)) $((DATA + 2 ** 20))
  [ ! -e "$WORK/out.partial" ]
}
# The odd bytes after the last page, or the only ones.
odd_sizes() {
  local size
  for size in 1 511 513 4097 1000003; do
    head -c "$size" /dev/urandom >"$WORK/odd"
    hm import "odd$size" "$WORK/odd"
    equal size "$(nbdinfo --size "$(uri "odd$size")")" "$size"
    hm export "odd$size" "$WORK/odd.out"
    cmp "$WORK/odd" "$WORK/odd.out"
  done
}
# From the folder of whoever asks, not of the server.
relative() {
  cd "$WORK"
  hm import relative ./odd
  hm export relative ../"$(basename "$WORK")"/relative.out
  cmp odd relative.out
}
replaced() {
  head -c 3M /dev/urandom >"$WORK/out"
  hm export data "$WORK/out"
  cmp "$WORK/image" "$WORK/out"
}
at_start() {
  equal data "$(data_of data)" $DATA
  nbdcopy "$(uri data)" - | cmp - "$WORK/image"
  equal log "$(grep -c '%' "$WORK/server.err" || true)" 0
}
# While a client goes on writing, the export is of one moment: its pages are numbered in the order
# written, over and over, so any moment shows round r up to a page, and r - 1 after it.
one_moment() {
  python <<'EOF_PY'
from wire import *
import subprocess, threading
stop, w = threading.Event(), Wire().go("busy")
def writer():
    number = 0
    while not stop.is_set():
        number += 1
        for page in range(0, 2048):
            w.write(page * 4096, struct.pack(">Q", number) * 512)
thread = threading.Thread(target=writer)
thread.start()
try:
    for _ in range(5):
        subprocess.check_call([os.environ["HUGEMEM"], "export", "busy", f"{DIR}/../busy", "--directory", DIR])
        data = open(f"{DIR}/../busy", "rb").read(2048 * 4096)
        rounds = [struct.unpack_from(">Q", data, at)[0] for at in range(0, len(data), 4096)]
        same(rounds, sorted(rounds, reverse=True))
        assert rounds[0] - rounds[-1] in (0, 1), (rounds[0], rounds[-1])
    assert rounds[0] > 0, "nothing was written meanwhile"
finally:
    stop.set()
    thread.join()
EOF_PY
}

check "import: holes and zeros take no memory, equal by nbdcopy" imported
check "import: says nothing where there is no terminal" quiet
if have script; then check "import: shows its progress on a terminal" progress
else skip "import: shows its progress on a terminal" "no script(1) here"; fi
check "export: equal and sparse" exported
check "export: says nothing where there is no terminal" quiet
check "sizes that are no multiple of anything" odd_sizes
check "relative paths" relative
check "export over a file" replaced
check "export of a disk being written to: one moment" one_moment
stop
start --import "data=$WORK/image" --create busy=64M
check "serve --import" at_start
finish
