#!/usr/bin/env bash
# The zero page's life, as `stat` shows it: mapped by readers, freed while they go on reading because
# memory is short, mapped again once it is not. Whatever happens, what was never written reads as zeros.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --memory 64M --create holes=1T --create full=10G
export WORK

# Readers of holes on three connections, without structured replies: those would say that there is a
# hole, and nobody would read it. READERS in all checks below.
cat >"$WORK/life.py" <<'EOF_PY'
from wire import *
import json, subprocess, threading, time

def hugemem(*command):
    return subprocess.run([os.environ["HUGEMEM"], *command, "--directory", DIR],
                          capture_output=True, text=True, check=True).stdout

def now():
    """References, and the counters that tell the zero page's life."""
    status = json.loads(hugemem("stat", "--json"))
    counters = {counter["name"]: counter["value"] for counter in status["counters"]}
    return status["zeroPageReferences"], counters["thp_zero_page_alloc"], counters["thp_zero_page_free"]

def wait(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition(*now()):
        assert time.monotonic() < end, f"{what}: after {seconds} s, references, alloc, free are {now()}"
        time.sleep(0.02)

class Readers:
    """Threads that read holes all over a disk until `stop`; each byte that is not 0 fails the test."""

    def __init__(self, disk, count=3):
        self.stopping, self.failures, self.reads = threading.Event(), [], [0] * count
        self.threads = [threading.Thread(target=self.read, args=(disk, number), daemon=True)
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def read(self, disk, number):
        try:
            w, zeros = Wire().go(disk, structured=False), bytes(64 << 10)
            # 8 different slots of 2 MiB a thread, so that few tables are enough; sizes on both sides of
            # what is copied and what is sent from where it lies.
            while not self.stopping.is_set():
                at = (number * 8 + self.reads[number] % 8) << 21
                length = 4096 if self.reads[number] & 8 else 64 << 10
                assert w.read(at, length) == zeros[:length], f"{length} bytes at {at} are not zeros"
                self.reads[number] += 1
                time.sleep(0.001)  # leaves the cores to the others
        except BaseException as error:
            self.failures.append(error)

    def go_on(self):
        """Returns once each has read again, and fails if one cannot."""
        before, end = list(self.reads), time.monotonic() + 10
        while any(now <= then for now, then in zip(self.reads, before)):
            assert not self.failures, self.failures
            assert time.monotonic() < end, "the readers stand still"
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

def fill(w, pattern=b"\7"):
    """Writes 4 KiB after 4 KiB until twenty in a row do not fit; the blocks that did. The zero page's
    own 2 MiB are among what is reclaimed before a write is refused."""
    block, refused, done = 0, 0, []
    while refused < 20:
        error = w.error(WRITE, block << 12, 4096, 0, pattern * 4096)
        assert error in (0, ENOSPC), error
        refused = refused + 1 if error else 0
        if not error:
            done.append(block)
        block += 1
        assert len(done) << 12 <= 64 << 20, "more than the limit was written"
    return done

def empty(w):
    for at in range(0, w.size, 1 << 30):
        same(w.error(TRIM, at, 1 << 30), 0)
EOF_PY
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$LIBRARY/clients/support:$WORK /usr/bin/python3 -; }

mapped() {
  equal "references before the first read" "$(stat_of .zeroPageReferences)" 0
  python <<'EOF_PY'
from life import *
readers = Readers("holes")
readers.go_on()
references, alloc, free = now()
assert references > 1 and alloc == free + 1, (references, alloc, free)
readers.go_on()
same(now()[1], alloc)  # one page for all of them
readers.stop()
print(f"figure:{sum(readers.reads)} reads of holes: one zero page, {references - 1} references on it")
EOF_PY
  hm stat | grep -E '^zero page +held by [1-9]'
}
# Nobody maps it any more: a discard gives the references back, and the shrinker the page.
unheld() {
  python <<'EOF_PY'
from life import *
_, alloc, free = now()
same(Wire().go("holes").error(TRIM, 0, 1 << 30), 0)
wait(lambda references, *_: references == 0, "the zero page that nobody holds is freed")
same(now(), (0, alloc, free + 1))
EOF_PY
  hm stat | grep -E '^zero page +none now'
}
# Memory runs full while readers hold it: it is taken away from them, and they read on.
revoked() {
  python <<'EOF_PY'
from life import *
readers = Readers("holes")
readers.go_on()
references, alloc, free = now()
assert references > 1 and alloc == free + 1, (references, alloc, free)
w = Wire().go("full")
fitted = fill(w)
print(f"figure:{len(fitted) * 4 / 1024:.1f} MiB of 64 are full of data beside readers of holes")
wait(lambda references, _, freed: references == 0 or freed > free, "the zero page that readers hold is freed")
for _ in range(20):
    readers.go_on()
references, alloc, free = now()
print(f"figure:then: references {references}, thp_zero_page_alloc {alloc}, thp_zero_page_free {free}")
# Its 2 MiB are data now: there is no room for it to come back, and nobody waits for it.
same(references, 0)
for block in fitted[::61]:
    same(w.read(block << 12, 4096) == b"\7" * 4096, True)
# Room again: whoever reads maps it again.
empty(w)
wait(lambda references, again, _: references > 1 and again > alloc, "the zero page comes back")
readers.go_on()
readers.stop()
EOF_PY
}
# Again and again, so that revoking meets every step of mapping.
again() {
  python <<'EOF_PY'
from life import *
readers = Readers("holes")
w = Wire().go("full")
before = now()
for round in range(6):
    fill(w, bytes([round + 1]))
    readers.go_on()
    empty(w)
    readers.go_on()
readers.stop()
after = now()
print(f"figure:6 rounds of full and empty: allocated {after[1] - before[1]}, freed {after[2] - before[2]} times, {sum(readers.reads)} reads of zeros")
assert after[1] - before[1] >= 3 and after[2] - before[2] >= 3, (before, after)
assert after[1] - after[2] == (after[0] > 0), after
EOF_PY
}

check "readers of holes share one zero page" mapped
check "after a discard nobody holds it: it is freed" unheld
check "full: it is freed while readers read zeros, and comes back once there is room" revoked
check "so six times over" again
finish
