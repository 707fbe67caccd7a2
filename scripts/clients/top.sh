#!/usr/bin/env bash
# `hugemem top`: plain frames in a pipe; on a terminal keys, sizes and signals, and whatever ends it,
# a terminal that is as it was.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --memory 256M --create data=1G --create other=1G
export SERVER

plain() {
  qemu-io -f raw -c "write -P 3 0 8M" "$(uri data)" >/dev/null
  # As a person would: with a pipe behind it, and nobody on standard input.
  hm top --frames 2 --interval 0.2 </dev/null | cat >"$WORK/frames"
  cat "$WORK/frames"
  equal "frames" "$(grep -c '^hugemem ' "$WORK/frames")" 2
  equal "escapes" "$(grep -c $'\e' "$WORK/frames" || true)" 0
  equal "rows of data" "$(grep -c '^data .* 8 MiB' "$WORK/frames")" 2
  grep -q '^memory .*#.* of 256 MiB' "$WORK/frames"
  # Rates have two looks between them, so there are none in the first frame.
  equal "frames without rates" "$(grep -c 'pgfault -' "$WORK/frames")" 1
  grep -qE 'pgfault [0-9]' "$WORK/frames"
}
# What requests carry counts, once they are done: not zeroes, trims or what was refused.
traffic() {
  hm create counted --size 1G
  python <<'EOF_PY'
from wire import *
w = Wire().go("counted")
w.write(0, b"\1" * (3 << 20))
w.write(4096, b"\2" * 512)
same(w.error(WRITE, 1 << 29, 32 << 20, 0, bytes(32 << 20)), 0)
same(w.error(WRITE, 1 << 30, 512, 0, bytes(512)), ENOSPC)
same(w.error(TRIM, 0, 1 << 20), 0)
same(w.error(WRITE_ZEROES, 0, 1 << 20), 0)
w.read(0, 5 << 20)  # holes count: the client has read them
w.read(0, 7)
same(w.error(READ, 1 << 30, 512), EINVAL)
EOF_PY
  equal "bytes written" "$(hm stat --json counted | jq '.disks[0].bytesWritten')" $(((35 << 20) + 512))
  equal "bytes read" "$(hm stat --json counted | jq '.disks[0].bytesRead')" $(((5 << 20) + 7))
  hm remove counted
}
rates() {
  # One connection writes 4 MiB every 0.1 s while three frames are shown, a second apart.
  python <<'EOF_PY'
from wire import *
import re, subprocess, time
w = Wire().go("data")
top = subprocess.Popen([os.environ["HUGEMEM"], "top", "--directory", DIR, "--frames", "3"],
                       stdout=subprocess.PIPE, text=True)
while top.poll() is None:
    w.write(0, bytes(4 << 20))
    w.write(4 << 20, b"\1" * (4 << 20))
    time.sleep(0.1)
frames = top.stdout.read().split("\n\nhugemem")
row = [line for line in frames[-1].split("\n") if line.startswith("data ")][0]
written = re.findall(r"[\d.]+ [KMG]?i?B", row)[-1]
print(f"figure:written by one connection as top sees it: {written} a second")
assert written.endswith("MiB"), row
same(top.returncode, 0)
EOF_PY
}
keys() {
  python <<'EOF_PY'
from terminal import *
screen = Screen("--interval", "0.2")
screen.wait_for(b"\x1b[?1049h\x1b[?25l")
lines = screen.frame()
assert lines[0].startswith("hugemem   2 disks"), lines
screen.key(b"o")
screen.key(b"x")  # means nothing
screen.frame()
screen.key(b"q")
assert screen.ended(0) == ""
EOF_PY
}
sizes() {
  hm fork data $(seq -f 'fork%g' 50)
  python <<'EOF_PY'
from terminal import *
screen = Screen("--interval", "0.2", "--sort", "own")
for columns, rows in ((100, 12), (40, 30), (1, 1), (300, 80), (100, 9)):
    screen.resize(columns, rows)
    for _ in range(5):
        lines = screen.frame()
    assert len(lines) <= rows and max(map(len, lines)) <= columns, (columns, rows, lines)
assert "more; sorted by own" in lines[-1], lines
screen.resize(100, 80)
for _ in range(5):
    lines = screen.frame()
assert sum(line.startswith("fork") for line in lines) == 50, lines
screen.key(b"q")
screen.ended(0)
EOF_PY
  hm remove $(seq -f 'fork%g' 50)
}
signals() {
  python <<'EOF_PY'
from terminal import *
screen = Screen()
screen.frame()
screen.key(b"\x03")  # Ctrl-C, through the terminal
assert screen.ended(0) == ""
for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
    screen = Screen()
    screen.frame()
    screen.process.send_signal(number)
    screen.ended(status)
# A server that hangs does not hold it up.
server = int(os.environ["SERVER"])
screen = Screen("--interval", "0.1")
screen.frame()
os.kill(server, signal.SIGSTOP)
try:
    time.sleep(0.5)
    screen.key(b"\x03")
    screen.ended(0)
finally:
    os.kill(server, signal.SIGCONT)
screen = Screen("--interval", "0.1", "--frames", "3")
assert screen.ended(0) == ""
EOF_PY
}
wrong() {
  refused '--interval' hm top --interval 0
  refused '--interval' hm top --interval nan
  refused '--frames' hm top --frames=-1
  refused '--sort' hm top --sort size
  refused "no server answers in $WORK/nobody" "$HUGEMEM" top --directory "$WORK/nobody"
}
# Last, since no server is left: it dies while it is watched, and the shell says nothing of it.
dies() {
  python <<'EOF_PY'
from terminal import *
screen = Screen("--interval", "0.1")
screen.frame()
os.kill(int(os.environ["SERVER"]), signal.SIGKILL)
said = screen.ended(1)
assert "no server answers" in said or "closed the control socket" in said, said
EOF_PY
}

check "frames in a pipe have no escapes" plain
check "what clients read and write is counted" traffic
check "rates of a disk" rates
check "keys" keys
check "frames fit the window, whatever its size" sizes
check "signals, and a server that hangs: the terminal is restored" signals
check "what cannot be is said" wrong
disown "$SERVER"
check "the server dies: it says so, and the terminal is restored" dies
kill -KILL "$SERVER" 2>/dev/null || true # where the check failed
SERVER=
finish
