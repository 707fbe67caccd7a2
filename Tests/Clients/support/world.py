"""The disks of a server that is killed: which there must be, with which settings, and what the requests of the
administrator that were not answered may have changed."""

import threading

from support.durable import Disk


class World:
    def __init__(self):
        self.lock, self.disks = threading.Lock(), {}
        # Requests that were sent and not answered: functions that get the disks that there are, and
        # return what they see.
        self.pending = []
        self.torn = self.acknowledged = self.refused = 0
        self.undecided = {}

    def enter(self, chance):
        """A disk for a writer, which calls `leave` after; nil if there is none."""
        with self.lock:
            free = [disk for disk in self.disks.values() if not disk.isExclusive and not disk.settings["readOnly"]]
            if not free:
                return None
            disk = chance.choice(sorted(free, key=lambda one: one.id))
            disk.users += 1
            return disk

    def leave(self, disk):
        with self.lock:
            disk.users -= 1

    def choose(self, chance, **wanted):
        """A disk for the administrator."""
        with self.lock:
            found = [disk for disk in self.disks.values() if disk.isSettled
                     and all(bool(getattr(disk, key)) == value for key, value in wanted.items())]
            return chance.choice(sorted(found, key=lambda one: one.id)) if found else None

    def exclude(self, disk):
        """No writer comes to the disk. Returns whether all have left."""
        with self.lock:
            disk.isExclusive = True
            return disk.users == 0

    def include(self, disk):
        with self.lock:
            disk.isExclusive = False

    def add(self, *disks):
        with self.lock:
            for disk in disks:
                self.disks[disk.name] = disk

    def add_unsettled(self, disks):
        """Adds forks whose contents are to be looked at before a writer comes."""
        for disk in disks:
            disk.isExclusive = True
        self.add(*disks)

    def rename(self, disk, name):
        with self.lock:
            del self.disks[disk.name]
            disk.name = name
            self.disks[name] = disk

    def remove(self, disk):
        with self.lock:
            del self.disks[disk.name]

    # After a kill

    def check(self, listed, read):
        """Fails unless there are the disks that there must be. `listed` is what a list says, by name, and
        `read(NAME, SIZE)` returns the contents."""
        for kind, decide in self.pending:
            key = f"{kind} {'done' if decide(listed, read) else 'not done'}"
            self.undecided[key] = self.undecided.get(key, 0) + 1
        self.pending = []
        assert set(listed) == set(self.disks), f"disks that should be there and not, or not: {set(listed) ^ set(self.disks)}"
        for name, disk in sorted(self.disks.items(), key=lambda one: one[1].id):
            found = listed[name]
            for key in ("size", "readOnly", "origin", "description", "quota", "reserve"):
                wanted = {"size": disk.size, "origin": disk.origin and disk.origin.name}.get(key, disk.settings.get(key))
                assert found.get(key) == wanted, f"{name}: {key} is {found.get(key)!r}, should be {wanted!r}"
            self.torn += disk.settle(read(name, disk.size))

    def waiting(self, kind, decide):
        """Notes a request of the administrator before it is sent. Returns what to remove when it is answered."""
        entry = (kind, decide)
        self.pending.append(entry)
        return entry


def one_of(listed, names, what):
    """Whether all of these names are there; fails if only some are."""
    there = [name in listed for name in names]
    assert all(there) or not any(there), f"{what}: only some of {names} are there: {there}"
    return all(there)


__all__ = ["Disk", "World", "one_of"]
