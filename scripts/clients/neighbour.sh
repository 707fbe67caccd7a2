#!/usr/bin/env bash
# A server and a neighbour in one control group of 256 MiB: the neighbour takes memory and gives it
# back, step by step, while clients write. The server's limit follows what is left; nobody is killed
# and nothing that was acknowledged is lost.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
source "$(dirname "$0")/support/cgroup.sh"

make_group $((256 * 2 ** 20)) || { skip "a server with a neighbour" "$WHY"; finish; exit; }
start_in_group --create data=10G --create rewritten=1G
export WORK

# Holds memory as it is told to, in MiB, and says so; ends at the end of its input.
cat >"$WORK/neighbour.py" <<'EOF_PY'
import sys, time

held = []
for line in sys.stdin:
    wanted = int(line)
    while len(held) < wanted:
        held.append(bytearray(b"\1" * (1 << 20)))
        time.sleep(0.02)
    del held[wanted:]
    print(len(held), flush=True)
EOF_PY

together() {
  python <<'EOF_PY'
from wire import *
import json, subprocess, threading, time

PIECE = 64 << 10
NOISE = os.urandom(PIECE - 16)
neighbour = subprocess.Popen(
    ["sh", "-c", f'echo $$ >"{os.environ["GROUP"]}/cgroup.procs"; exec python3 "{os.environ["WORK"]}/neighbour.py"'],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def hold(mib):
    neighbour.stdin.write(f"{mib}\n")
    neighbour.stdin.flush()
    same(neighbour.stdout.readline(), f"{mib}\n")  # "" if it was killed

# What the server says of its limit, all the time.
limits, stop = [], threading.Event()
def sample():
    while not stop.is_set():
        said = subprocess.run([os.environ["HUGEMEM"], "stat", "--json", "--directory", DIR],
                              capture_output=True)
        limits.append(json.loads(said.stdout)["memoryLimit"] >> 20)
        stop.wait(0.1)

# A client that rewrites 20 MiB without a pause: it has its memory and is never refused.
rounds, failure = [0] * 320, []
def rewrite():
    try:
        w, number = Wire().go("rewritten"), 0
        while not stop.is_set():
            block = number % len(rounds)
            w.write(block * PIECE, struct.pack(">QQ", block, number + 1) + NOISE)
            rounds[block] = number + 1
            number += 1
    except BaseException as error:
        failure.append(error)

# And one that takes what there is.
w, version, held = Wire().go("data"), 0, {}
def fill(mib):
    """Up to so many MiB in all; how many there are then."""
    global version
    for block in range((mib << 20) // PIECE):
        if block in held:
            continue
        version += 1
        error = w.error(WRITE, block * PIECE, PIECE, 0, struct.pack(">QQ", block, version) + NOISE)
        assert error in (0, ENOSPC), error
        if error:
            break
        held[block] = version
    return len(held) * PIECE >> 20
def trim(mib):
    for block in [block for block in held if block >= (mib << 20) // PIECE]:
        same(w.error(TRIM, block * PIECE, PIECE), 0)
        del held[block]
def verify():
    for block, number in held.items():
        same(w.read(block * PIECE, PIECE) == struct.pack(">QQ", block, number) + NOISE, True)

threads = [threading.Thread(target=work, daemon=True) for work in (sample, rewrite)]
for thread in threads:
    thread.start()
hold(0)
tight, wide = [], []
for size in (60, 40, 60):
    trim(80)
    time.sleep(1)  # what was trimmed is the system's again, for the neighbour to take
    hold(size)
    time.sleep(1)
    # More than there is beside the neighbour. That was fatal if the limit had not followed.
    tight.append(fill(240))
    verify()
    time.sleep(1)
    hold(0)
    time.sleep(1)
    wide.append(fill(240))
    verify()
stop.set()
for thread in threads:
    thread.join()
assert not failure, failure
w = Wire().go("rewritten")
for block, number in enumerate(rounds):
    same(w.read(block * PIECE, 16), struct.pack(">QQ", block, number))
neighbour.stdin.close()
same(neighbour.wait(10), 0)
print(f"figure:beside a neighbour of 60, 40, 60 MiB: {tight} MiB of data fit; without it {wide}")
print(f"figure:the limit was {limits[0]} MiB at first, then from {min(limits)} to {max(limits)}")
json.dump([limits, tight, wide], open(os.environ["WORK"] + "/limits", "w"))
EOF_PY
  nobody_killed
}
# It fell and rose by half of what the neighbour took, at least, and what fits did.
followed() {
  python <<'EOF_PY'
import json, os
limits, tight, wide = json.load(open(os.environ["WORK"] + "/limits"))
lowest = limits.index(min(limits))
fallen, risen = max(limits[:lowest + 1]) - limits[lowest], max(limits[lowest:]) - limits[lowest]
assert fallen >= 30 and risen >= 30, f"the limit fell by {fallen} MiB and rose by {risen}"
for before, after in zip(tight, wide):
    assert after >= before + 20, f"{before} MiB fit beside the neighbour, {after} without it"
EOF_PY
}

check "a neighbour takes and gives back 60 MiB; nothing is lost, nobody killed" together
check "the limit falls and rises with what is left" followed
finish
