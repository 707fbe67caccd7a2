"""A day's worth of churn in minutes: writes, trims, zeroes, forks, resets and removals of disks
with quotas, while knobs and limits change. The results are compared with a model.

Hypothesis chooses the steps. It shrinks a failure to the fewest steps, prints them as a program,
and begins the next run with them. The server's own threads, above all background reclaim, run at
their own pace, so different requests may be refused each time. Therefore no choice of a step
depends on an answer. `make churn` runs more of this.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from support.compare import eventually
from support.model import SLOT, SLOTS, ModelDisk
from support.server import Server
from support.wire import NO_HOLE, TRIM, WRITE_ZEROES

# The number of histories, and the most steps of each. Hypothesis begins with ten nearly empty ones.
EXAMPLES, STEPS = int(os.environ.get("EXAMPLES", 20)), 80
MOST_DISKS = 8

# The number of a disk, modulo the number of disks that exist.
disks = st.integers(0, MOST_DISKS - 1)
# A page and a count: mostly a few pages, at times a whole slot, and never beyond the end of a slot.
extents = st.lists(st.one_of(
    st.tuples(st.sampled_from(SLOTS), st.integers(0, SLOT - 1), st.sampled_from([1, 2, 7, 32, 128])).map(
        lambda drawn: (drawn[0] * SLOT + drawn[1], min(drawn[2], SLOT - drawn[1]))),
    st.sampled_from(SLOTS).map(lambda slot: (slot * SLOT, SLOT)),
), min_size=1, max_size=6)
# Which of each eight pages are not zeros: all, none, or few, as in a huge frame that is hardly
# used.
masks = st.sampled_from([0xFF, 0, 0x11, 0x01])
# What changes while clients work: the memory limit, a disk's limits, and knobs. All of them are one
# rule, since all rules are equally likely, and a command takes as long as ten requests.
DISK = "DISK"
adjustments = st.one_of(
    st.sampled_from(["24M", "32M", "48M", "64M", "96M"]).map(lambda size: ("limit", "--memory", size)),
    st.sampled_from(["1M", "8M", "none"]).map(lambda size: ("limit", DISK, "--quota", size)),
    st.sampled_from([
        "enabled=always", "enabled=madvise", "enabled=never", "enabled=collapse",
        "use_zero_page=0", "use_zero_page=1", "shrink_underused=0", "shrink_underused=1",
        "khugepaged/scan_sleep_millisecs=0", "khugepaged/scan_sleep_millisecs=1000",
        "khugepaged/max_ptes_none=0", "khugepaged/max_ptes_none=511",
    ]).map(lambda setting: ("tune", setting)),
    st.just(("shrink",)),
)


class Churn(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hugemem."))
        self.server = Server(self.folder / "run", "--memory", "64M")
        self.resident = self.server.resident()
        self.disks, self.made, self.value = [], 0, 0

    def disk(self, number):
        return self.disks[number % len(self.disks)]

    def name(self):
        self.made += 1
        return f"churn{self.made}"

    def done(self, *command):
        """Runs a command. Returns whether it was carried out, and not refused for lack of
        memory."""
        done = self.server.run(*command, check=False)
        assert done.returncode == 0 or "memory limit" in done.stderr or "quota" in done.stderr, done
        return done.returncode == 0

    # Clients

    @rule(number=disks, extents=extents, mask=masks)
    def write(self, number, extents, mask):
        for page, count in extents:
            values = []
            for index in range(count):
                self.value += 1
                values.append(self.value if mask >> (index & 7) & 1 else 0)
            self.disk(number).write(page, values)

    @rule(number=disks, extents=extents)
    def trim(self, number, extents):
        for page, count in extents:
            self.disk(number).clear(TRIM, page, count)

    @rule(number=disks, extents=extents, flags=st.sampled_from([0, NO_HOLE]))
    def zero(self, number, extents, flags):
        for page, count in extents:
            self.disk(number).clear(WRITE_ZEROES, page, count, flags)

    @rule(number=disks, extents=extents)
    def read(self, number, extents):
        for page, count in extents:
            self.disk(number).check(page, count)

    # Commands

    @initialize()
    def first(self):
        self.server.run("create", "churn0", "--size", "1G")
        self.disks.append(ModelDisk(self.server, "churn0", {}))

    @rule()
    def create(self):
        name = self.name()
        if len(self.disks) < MOST_DISKS and self.done("create", name, "--size", "1G"):
            self.disks.append(ModelDisk(self.server, name, {}))

    @rule(number=disks)
    def fork(self, number):
        origin, name = self.disk(number), self.name()
        if len(self.disks) < MOST_DISKS:
            # The fork has the origin's unknown pages. Read them first, or both disks could have
            # either value.
            origin.check_all()
            if self.done("fork", origin.name, name):
                self.disks.append(ModelDisk(self.server, name, dict(origin.pages), born=dict(origin.pages)))

    @rule(number=disks)
    def reset(self, number):
        disk = self.disk(number)
        if disk.born is not None and self.done("reset", disk.name):
            disk.pages = dict(disk.born)
            disk.check_all()

    @rule(number=disks)
    def remove(self, number):
        if len(self.disks) > 1:
            self.drop(self.disk(number))

    def drop(self, disk):
        self.disks.remove(disk)
        disk.close()
        self.server.remove(disk.name)

    @rule(number=disks, command=adjustments)
    def adjust(self, number, command):
        """Changes a limit or knobs. A limit below the promises is refused and stays what it was."""
        self.done(*(self.disk(number).name if part == DISK else part for part in command))

    # Its end

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:
                for disk in self.disks:
                    disk.check_all()
                self.nothing_is_left()
                self.server.stops_cleanly()
        finally:
            self.server.kill()
            shutil.rmtree(self.folder)

    def nothing_is_left(self):
        """Removes everything. The figures must be what they were without disks."""
        for disk in list(self.disks):
            self.drop(disk)

        def status():
            found = self.server.stat()
            return found["memoryUsed"] == 0 and found["zeroPageReferences"] == 0 and found

        found = eventually(status, "no frame is in use, nobody holds the zero page")
        counters = {counter["name"]: counter["value"] for counter in found["counters"]}
        assert counters["thp_zero_page_alloc"] == counters["thp_zero_page_free"]
        # Allow 4 MiB for what the program keeps for itself: stacks and buffers of threads that are
        # gone.
        eventually(lambda: self.server.resident() <= self.resident + (4 << 20), "resident memory is what it was")


@pytest.mark.deadline(600 if EXAMPLES <= 20 else 7 * 86400)
def test_churn_does_what_the_model_does_and_leaves_nothing():
    run_state_machine_as_test(Churn, settings=settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, print_blob=True,
        database=DirectoryBasedExampleDatabase(Path(__file__).parent / ".hypothesis"),
        suppress_health_check=list(HealthCheck)))
