#!/usr/bin/env bash
# A server in a control group of 256 MiB, written to with 600, without --memory: it takes its limit from
# the group, fits nearly all of it with data, and answers ENOSPC instead of being killed.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
source "$(dirname "$0")/support/cgroup.sh"
export WORK

# Where the machine is emulated a request costs milliseconds, and a MiB tens of them.
if [ -n "${EMULATED:-}" ]; then MIB=192 SMALL=65536; else MIB=256 SMALL=4096; fi
LIMIT=$((MIB * 2 ** 20))
export SMALL
export GROUP_MIB=$MIB
make_group "$LIMIT" || { skip "a server in a control group" "$WHY"; finish; exit; }
start_in_group --create a=10G --create b=10G --create c=10G --create golden=1G

follows() {
  local limit
  limit=$(stat_of .memoryLimit)
  echo "figure:a group of $((LIMIT >> 20)) MiB: a limit of $((limit >> 20)) MiB"
  at_most "the server's limit" "$limit" "$LIMIT"
}

# Blocks of a length, each with its own contents, and which of them were acknowledged.
cat >"$WORK/blocks.py" <<'EOF_PY'
from wire import *
import random
import threading

NOISE = random.Random(1).randbytes(1 << 20)
MIB, GROUP_MIB, SMALL = 1 << 20, int(os.environ["GROUP_MIB"]), int(os.environ["SMALL"])
MORE = GROUP_MIB * 600 // 256


class Blocks:
    def __init__(self, disk, length, seed=0):
        self.wire, self.length, self.seed, self.done = Wire().go(disk), length, seed, []

    def contents(self, index):
        return struct.pack(">QQ", self.seed, index + 1) + NOISE[: self.length - 16]

    def write(self, index):
        """Whether it was acknowledged."""
        error = self.wire.error(WRITE, index * self.length, self.length, 0, self.contents(index))
        assert error in (0, ENOSPC), error
        if not error:
            self.done.append(index)
        return not error

    def fill(self, mib, first=0):
        """Up to so many MiB, and after the first that does not fit a hundred more."""
        refused = 0
        for index in range(first, first + (mib << 20) // self.length):
            refused += not self.write(index)
            if refused > 100:
                break
        return refused > 0

    def check(self):
        for index in self.done:
            found = self.wire.read(index * self.length, self.length)
            assert found == self.contents(index), f"block {index} was acknowledged and is lost"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.trim()  # whatever happened: the checks that follow begin with nothing

    def trim(self):
        for at in range(0, self.wire.size, 1 << 30):
            same(self.wire.error(TRIM, at, 1 << 30), 0)
        self.done = []

    @property
    def mib(self):
        return len(self.done) * self.length / MIB


def fill_together(disks, mib):
    """Each by a thread; a thread that fails fails all."""
    failures = []
    def fill(disk):
        try:
            disk.fill(mib)
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=fill, args=(disk,)) for disk in disks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def fits(mib, what):
    with open(os.environ["WORK"] + "/fits", "a") as file:
        print(f"{mib:.1f} MiB of data {what}, {100 * mib / GROUP_MIB:.1f} % of the group", file=file)
EOF_PY
# Two paths: `wire` and what is above.
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$LIBRARY/clients/support:$WORK /usr/bin/python3 -; }

# filled LENGTH: more than twice of what the group may have, read back, trimmed, and again.
filled() {
  LENGTH=$1 python <<'EOF_PY'
from blocks import *
length = int(os.environ["LENGTH"])
with Blocks("a", length) as disk:
    assert disk.fill(MORE), f"{MORE} MiB fit into {GROUP_MIB}"
    fits(disk.mib, f"in writes of {length} bytes")
    disk.check()
    # Half of it makes room for as much, trimmed in halves of 2 MiB: where a huge frame is, it goes
    # with its second half.
    half = int(disk.mib) // 2
    kept = disk.done[half * MIB // length:]
    for at in range(half):
        same(disk.wire.error(TRIM, at * MIB, MIB), 0)
    disk.done = []
    disk.fill(half, first=(1 << 30) // length)
    again = disk.mib
    assert again >= 0.95 * half, f"{again:.1f} MiB fit where {half} MiB were trimmed"
    disk.done += kept
    disk.check()
EOF_PY
  nobody_killed
}
several() {
  python <<'EOF_PY'
from blocks import *
disks = [Blocks(name, 64 << 10, seed) for seed, name in enumerate("abc")]
fill_together(disks, MORE // 3)
fits(sum(disk.mib for disk in disks), "on three disks, written at the same time")
try:
    for disk in disks:
        disk.check()
finally:
    for disk in disks:
        disk.trim()
EOF_PY
  nobody_killed
}
forks() {
  qemu-io -f raw -c "write -P 7 0 $((MIB * 60 / 256))M" "$(uri golden)" >/dev/null
  hm fork golden fork1 fork2 fork3 fork4
  local status _
  set +e
  python <<'EOF_PY'
from blocks import *
disks = [Blocks(f"fork{number}", SMALL, number) for number in (1, 2, 3, 4)]
fill_together(disks, MORE // 6)
GOLDEN = GROUP_MIB * 60 // 256
fits(GOLDEN + sum(disk.mib for disk in disks), "on a golden disk and four forks that write over it")
golden = Wire().go("golden")
for at in range(0, GOLDEN * MIB, MIB):
    same(golden.read(at, MIB) == b"\7" * MIB, True)
for disk in disks:
    disk.check()
    written = set(disk.done)
    for index in range(0, GOLDEN * MIB // disk.length, 97):
        if index not in written:
            found = disk.wire.read(index * disk.length, disk.length)
            same(found == b"\7" * disk.length, True)
for disk in disks:
    disk.wire.close()
EOF_PY
  status=$?
  set -e
  for _ in $(seq 50); do hm remove golden fork1 fork2 fork3 fork4 && break; sleep 0.1; done
  nobody_killed
  return $status
}
# What is trimmed is the group's again by its own counter: 3/4 of the group, of which 1 in 16 stays.
given_back() {
  local before most=$((MIB * 3 / 4 / 16 * 2 ** 20 + 4 * 2 ** 20))
  before=$(group_used)
  python <<'EOF_PY'
from blocks import *
disk = Blocks("a", MIB)
written = GROUP_MIB * 3 // 4
disk.fill(written)
same(len(disk.done), written)
for at in range(0, written, 16):
    same(disk.wire.error(TRIM, (at + 1) * MIB, 15 * MIB), 0)
disk.wire.close()
EOF_PY
  falls_to $((before + most)) 10 group_used
  echo "figure:$((MIB * 3 / 4)) MiB written, 15 of each 16 MiB trimmed: the group's counter is $(((FALLEN - before) >> 10)) KiB higher, $MS ms after the last trim"
  at_most "the group's counter, more than before" $((FALLEN - before)) $most
  io a "discard 0 1G"
}
# The goal is 85 % of the group, so that little of what it costs is wasted.
enough() {
  sed 's/^/figure:/' "$WORK/fits"
  equal "ways to fill it that were measured" "$(wc -l <"$WORK/fits")" 4
  awk -v mib=$MIB '$1 < mib * 0.85 { print "less than 85 %: " $0; short = 1 } END { exit short }' "$WORK/fits"
}
afterwards() {
  local used _
  for _ in $(seq 100); do used=$(stat_of .memoryUsed); [ "$used" -gt $((2 ** 20)) ] || break; sleep 0.1; done
  at_most "memory used by empty disks" "$used" $((2 ** 20))
  nobody_killed
}

check "the limit comes from the group" follows
check "more than twice the group in 1 MiB: what fits is there, a trim makes room, nobody is killed" filled $((2 ** 20))
check "more than twice the group in $((SMALL >> 10)) KiB: what fits is there, a trim makes room, nobody is killed" filled $SMALL
check "what is trimmed leaves the group's counter" given_back
check "three disks at the same time" several
check "four forks at the same time" forks
check "85 % of the group and more is data, each time" enough
check "nothing is left, nobody was killed" afterwards
finish
