"""The administrator of a server that will be killed: see `support.workers`."""

import threading
import time

from support.durable import Disk
from support.http import API
from support.wire import DISC
from support.workers import MIB, Worker
from support.world import one_of


class Administrator(Worker):
    """Creates, forks, resets, removes, renames, resizes and sets, one request at a time.

    With `aim`, it kills the server at about the time at which that carries out the request of this number.
    """

    most = 12

    def __init__(self, server, world, seed, aim=None):
        self.number, self.aim = 0, aim
        super().__init__(server, world, seed)

    def run(self):
        try:
            self.api = API(self.server)
        except OSError:
            return
        super().run()

    def step(self):
        if self.aim is None:
            time.sleep(self.chance.random() / 50)
        steps = ["fork"] * 4 + ["connect"] * 2 + ["reset"] * 3 + ["remove"] * 3 + ["rename", "resize", "resize", "change", "limit"]
        if len(self.world.disks) >= self.most:
            steps = ["remove", "remove", "reset", "resize", "rename"]
        getattr(self, self.chance.choice(steps if len(self.world.disks) > 3 else ["create"]))()

    def shoot(self):
        """Kills the server in a moment, if this is the request."""
        if self.aim is not None:
            self.aim -= 1
            if self.aim == 0:
                threading.Timer(self.chance.random() ** 2 / 200, self.server.process.kill).start()

    def name(self, kind):
        self.number += 1
        return f"{kind}{self.number}-{self.chance.randrange(1 << 24):x}"

    def ask(self, kind, decide, method, path, body=None):
        """Sends a request. Returns whether it was carried out; `decide` finds that out if there is no answer."""
        entry = self.world.waiting(kind, decide)
        self.shoot()
        status, document = self.api(method, path, body)
        self.world.pending.remove(entry)
        assert status < 300 or document["code"] in (
            "out-of-memory", "cannot-reserve", "cannot-fork", "over-quota", "disk-in-use", "too-many-disks"), document
        return status < 300

    def create(self):
        name, size = self.name("disk"), self.chance.choice([MIB, 3 * MIB + 1, 6 * MIB, 12 * MIB])

        def decide(listed, read):
            if name in listed:
                self.world.add(Disk(name, size))
            return name in listed

        if self.ask("create", decide, "POST", "/v1/disks", {"name": name, "size": size}):
            self.world.add(Disk(name, size))

    def made(self, source, names, image, maybe):
        disks = [Disk(name, len(image), bytearray(image), maybe, origin=source) for name in names]
        for twin in disks[1:]:
            twin.twin = disks[0]
        return disks

    def whole(self, disk):
        wire = self.connect(disk.name)
        disk.settle(wire.read(0, disk.size))
        wire.request(DISC)
        wire.is_closed()
        wire.close()

    def fork(self):
        source = self.world.choose(self.chance)
        if source is None:
            return
        names = [self.name("fork") for _ in range(self.chance.choice([1, 1, 2, 3]))]
        self.fork_by(source, names, lambda decide: self.ask(
            "fork", decide, "POST", f"/v1/disks/{source.name}/forks", {"names": names}))

    def connect_fork(self, source, names, decide):
        entry = self.world.waiting("fork by connecting", decide)
        self.shoot()
        try:
            wire = self.connect(f"{source.name}@{names[0]}")
        except AssertionError:
            # Refused: there is no memory for it.
            self.world.pending.remove(entry)
            return False
        self.world.pending.remove(entry)
        wire.request(DISC)
        wire.is_closed()
        wire.close()
        return True

    def connect(self, export=None, **more):
        if export is not None:
            return super().connect(export, **more)
        source = self.world.choose(self.chance)
        names = [self.name("job")]
        # With a quota, all such forks would share it.
        if source is not None and source.settings.get("quota") is None:
            self.fork_by(source, names, lambda decide: self.connect_fork(source, names, decide))
        return None

    def fork_by(self, source, names, send):
        image, maybe = source.follow()

        def decide(listed, read):
            there = one_of(listed, names, f"a fork of {source.name}")
            if there:
                self.world.add(*self.made(source, names, image, maybe))
            return there

        done = send(decide)
        source.unfollow(maybe)
        if done:
            disks = self.made(source, names, image, maybe)
            self.world.add_unsettled(disks)
            for disk in disks:
                self.whole(disk)
            for disk in disks:
                self.world.include(disk)

    def exclusively(self, wanted, work):
        """Does something with a disk that no writer uses."""
        disk = self.world.choose(self.chance, **wanted)
        if disk is None:
            return
        end = time.monotonic() + 5
        while not self.world.exclude(disk) and time.monotonic() < end and not self.stopping.is_set():
            time.sleep(0.002)
        if self.world.exclude(disk):
            work(disk)
        self.world.include(disk)

    def reset(self):
        self.exclusively({"born": True}, self.reset_disk)

    def reset_disk(self, disk):
        def after():
            disk.image = bytearray(disk.born)

        def decide(listed, read):
            found = listed[disk.name]["size"], read(disk.name, listed[disk.name]["size"])
            done = found == (len(disk.born), disk.born)
            assert done or found == (disk.size, bytes(disk.image)), (
                f"{disk.name}: a reset from {disk.size} to {len(disk.born)} bytes is done in part; it has {found[0]} bytes, "
                f"and the contents are {'neither' if found[1][:MIB] not in (disk.born[:MIB], bytes(disk.image[:MIB])) else 'those of before or after'}")
            if done:
                after()
            return done

        if self.ask("reset", decide, "POST", f"/v1/disks/{disk.name}/reset"):
            after()

    def remove(self):
        self.exclusively({}, self.remove_disk)

    def remove_disk(self, disk):
        def decide(listed, read):
            if disk.name not in listed:
                self.world.remove(disk)
            return disk.name not in listed

        if self.ask("remove", decide, "DELETE", f"/v1/disks/{disk.name}"):
            self.world.remove(disk)

    def rename(self):
        disk = self.world.choose(self.chance)
        if disk is None:
            return
        name = self.name("name")

        def decide(listed, read):
            assert (name in listed) != (disk.name in listed), f"{disk.name} or {name} is there"
            if name in listed:
                self.world.rename(disk, name)
            return disk.name == name

        with disk.naming:
            if self.ask("rename", decide, "POST", f"/v1/disks/{disk.name}/rename", {"name": name}):
                self.world.rename(disk, name)

    def resize(self):
        self.exclusively({}, self.resize_disk)

    def resize_disk(self, disk):
        size = self.chance.choice([MIB, 2 * MIB + 512, 5 * MIB, 8 * MIB])

        def after():
            disk.image = disk.image[:size] + bytes(max(0, size - disk.size))

        def decide(listed, read):
            done = listed[disk.name]["size"] == size
            if done:
                after()
            return done

        if self.ask("resize", decide, "POST", f"/v1/disks/{disk.name}/resize", {"size": size, "shrink": True}):
            after()

    def setting(self, kind, disk, path, body):
        def decide(listed, read):
            done = all(listed[disk.name].get(key) == value for key, value in body.items())
            if done:
                disk.settings.update(body)
            return done

        if self.ask(kind, decide, "PATCH", path, body):
            disk.settings.update(body)

    def change(self):
        def work(disk):
            # One more that is read-only, or one fewer.
            body = {"readOnly": self.chance.random() < 0.3, "description": self.name("text")}
            self.setting("change", disk, f"/v1/disks/{disk.name}", body)
        self.exclusively({}, work)

    def limit(self):
        disk = self.world.choose(self.chance)
        if disk is not None:
            quota = self.chance.choice([None, 8 * MIB, 4 * MIB])
            reserve = self.chance.choice([None, None, MIB])
            with disk.naming:
                self.setting("limit", disk, f"/v1/disks/{disk.name}/limit", {"quota": quota, "reserve": reserve})
