"""`serve --restore DIR --lazy`: disks that are served before their contents are loaded."""
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import threading

import pytest

from support.checkpoint_files import lying_tables
from support.compare import eventually, noise, same_bytes
from support.gate import Gate
from support.http import API
from support.tools import refused
from support.wire import BLOCK_STATUS, CACHE, EIO, ENOMEM, ENOSPC, READ, TRIM, WRITE, WRITE_ZEROES

MIB = 1 << 20


@pytest.fixture
def gate():
    """gate(FILE, CLOSED): see `Gate`."""
    gates = []

    def make(*arguments):
        gates.append(Gate(*arguments))
        return gates[-1]

    yield make
    for one in gates:
        one.remove()


@pytest.fixture
def checkpoint(server, tmp_path):
    """checkpoint(MAKE): a directory with the checkpoint of a server that MAKE has filled."""

    def make(fill, create=("big=48M",), name="cp"):
        one = server(memory="512M", create=create)
        fill(one)
        one.run("checkpoint", tmp_path / name)
        one.kill()
        return tmp_path / name

    return make


def big(one):
    """A disk of 48 MiB of noise, in pages of 4 KiB."""
    wire = one.go("big")
    for offset in range(0, 48 * MIB, MIB // 2):
        wire.write(offset, noise(MIB // 2, offset + 1))


def contents(one, name):
    done = subprocess.run(one.command("export", name, "-"), check=True, stdout=subprocess.PIPE)
    return hashlib.sha256(done.stdout).hexdigest()


def loading(one):
    return one.stat().get("loading")


def loaded(one):
    eventually(lambda: loading(one) is None, "all is loaded")


# The file of a checkpoint has the pages in the order of the disk. This is somewhere in the middle of it.
MIDDLE = range(8 * MIB, 16 * MIB)


def test_the_first_read_does_not_wait_for_all(checkpoint, gate, server):
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    wire = one.go("big")
    same_bytes(wire.read(47 * MIB, MIB), noise(MIB // 2, 47 * MIB + 1) + noise(MIB // 2, 47 * MIB + MIB // 2 + 1))
    state = loading(one)
    # The background cannot be past the middle.
    assert state["left"] > 0 and state["failed"] == 0 and state["pieces"] == 24, state
    assert "are still to be loaded" in one.run("stat").stdout
    # Nothing else waits either: lists, forks, a view, and writes to what is there.
    assert one.names() == ["big"] and "big" in one.run("list", "--tree").stdout
    one.run("fork", "big", "copy")
    wire.write(47 * MIB, b"new")
    same_bytes(one.go("copy").read(47 * MIB, 4), noise(4, 47 * MIB + 1), "the fork")
    same_bytes(one.go("big@job").read(47 * MIB, 3), b"new", "the fork by connecting")
    # A trim of whole pieces needs nothing of them.
    assert wire.error(TRIM, 10 * MIB, 4 * MIB) == 0
    same_bytes(wire.read(10 * MIB, 4 * MIB), bytes(4 * MIB), "what was trimmed")
    assert loading(one)["left"] > 0
    closed.open()
    loaded(one)
    same_bytes(wire.read(10 * MIB, 4 * MIB), bytes(4 * MIB), "what was trimmed")
    for at in range(0, 47 * MIB, MIB // 2):
        same_bytes(one.go("copy").read(at, MIB // 2), noise(MIB // 2, at + 1), "the fork", at)
        if not 10 * MIB <= at < 14 * MIB:
            same_bytes(wire.read(at, MIB // 2), noise(MIB // 2, at + 1), "the disk", at)


def test_who_needs_a_part_waits_for_it(checkpoint, gate, server, together):
    """Reads, partial trims and writes of a part that cannot be read yet end when it can, with the right
    bytes."""
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    begun = threading.Barrier(6)

    def read():
        wire = one.go("big")
        begun.wait()
        same_bytes(wire.read(10 * MIB, MIB // 2), noise(MIB // 2, 10 * MIB + 1), "a read")

    def write():
        wire = one.go("big")
        begun.wait()
        wire.write(12 * MIB + 5, b"x" * 10)

    def trim():
        wire = one.go("big")
        begun.wait()
        assert wire.error(TRIM, 13 * MIB, 3 * MIB) == 0

    def status():
        wire = one.go("big")
        begun.wait()
        (extent, *_) = wire.ask(BLOCK_STATUS, 11 * MIB, 8 * MIB).extents()
        assert extent[0] >= MIB and extent[1] == 0, f"data is said to be {extent}"

    def cache():
        wire = one.go("big")
        begun.wait()
        assert wire.error(CACHE, 9 * MIB, 100) == 0

    def opened():
        begun.wait()
        assert loading(one)["left"] > 0
        closed.open()

    together(read, write, trim, status, cache, opened)
    loaded(one)
    wire = one.go("big")
    expected = bytearray(noise(MIB // 2, 12 * MIB + 1) + noise(MIB // 2, 12 * MIB + MIB // 2 + 1) + bytes(3 * MIB))
    expected[5:15] = b"x" * 10
    same_bytes(wire.read(12 * MIB, 4 * MIB), bytes(expected), "what was changed", 12 * MIB)


def forked(one):
    """A golden disk with holes, and forks of it and of one of them, with changes."""
    wire = one.go("golden")
    for offset in range(0, 24 * MIB, 2 * MIB):
        wire.write(offset, noise(MIB, offset + 1))
    # A piece in one write takes a huge frame.
    wire.write(26 * MIB, noise(2 * MIB, 7))
    one.run("fork", "golden", "one", "two")
    one.go("one").write(5000, noise(30000, 3))
    one.go("one").write(26 * MIB + 100, b"changed")
    one.run("fork", "one", "three")
    one.go("three").write(9 * MIB, noise(70000, 4))
    one.go("three").write(28 * MIB, noise(2 * MIB, 8))
    assert one.go("two").error(TRIM, 4 * MIB, 3 * MIB) == 0


NAMES = ("golden", "one", "two", "three")


def test_memory_is_as_after_an_eager_restore(checkpoint, server):
    directory = checkpoint(forked, create=("golden=32M", "empty=1T"))
    eager = server("--restore", directory, memory="256M")
    lazy = server("--restore", directory, "--lazy", memory="256M")
    loaded(lazy)
    kinds = ("name", "data", "huge", "shared", "own", "origin", "size")
    assert [[disk[key] for key in kinds if key in disk] for disk in lazy.json("list")] \
        == [[disk[key] for key in kinds if key in disk] for disk in eager.json("list")]
    assert lazy.stat()["memoryByKind"] == eager.stat()["memoryByKind"]
    for name in (*NAMES, "empty"):
        if name != "empty":
            assert contents(lazy, name) == contents(eager, name), name
    # What nobody writes, the next checkpoint need not write either.
    lazy.go("two").write(0, b"more")
    assert "the rest is as in the last one" in lazy.run("checkpoint", directory).stdout
    for one in (eager, lazy):
        one.run("reset", "three")
    assert contents(lazy, "three") == contents(eager, "three")


@pytest.mark.deadline(300)
def test_changes_while_it_loads(checkpoint, gate, server, together):
    """Clients write, trim, zero, read and fork while a slow file is loaded. Each disk has what a model has, also
    the forks that were made meanwhile, and the disks that were reset."""
    directory = checkpoint(forked, create=("golden=32M", "empty=1T"))
    eager = server("--restore", directory, memory="256M")
    models = {name: bytearray(b"".join(
        eager.go(name).read(at, 8 * MIB) for at in range(0, 32 * MIB, 8 * MIB))) for name in NAMES}
    origins = {"one": models["golden"][:], "two": models["golden"][:]}
    eager.stop()
    closed = gate(directory / "pages.1", range(MIB))
    one = server("--restore", directory, "--lazy", memory="256M")
    seed = int(os.environ.get("SEED", "1"))
    forks, begun = {}, threading.Barrier(len(NAMES) + 1)

    def client(name):
        generator = random.Random(f"{seed} {name}")
        wire, model = one.go(name), models[name]
        begun.wait()
        for turn in range(120):
            at = generator.randrange(32 * MIB - 3 * MIB)
            length = generator.choice((1, 100, 4096, 5000, 70000, MIB, 3 * MIB))
            if generator.random() < 0.5:
                at = at // 4096 * 4096
            kind = generator.choice(("read", "read", "write", "write", "trim", "zero", "keep", "fork"))
            if kind == "read":
                same_bytes(wire.read(at, length), bytes(model[at:at + length]), f"{name}, turn {turn}", at)
            elif kind == "write":
                data = generator.randbytes(min(length, 70000))
                wire.write(at, data)
                model[at:at + len(data)] = data
            elif kind == "fork":
                if turn % 5 == 0:
                    new = f"{name}-{turn}"
                    one.run("fork", name, new)
                    forks[new] = bytes(model)
            else:
                flags = 2 if kind == "keep" else 0
                assert wire.error(TRIM if kind == "trim" else WRITE_ZEROES, at, length, flags) == 0
                model[at:at + length] = bytes(length)

    def opened():
        begun.wait()
        assert loading(one)["left"] > 0
        closed.open()

    together(opened, *(lambda name=name: client(name) for name in NAMES))
    for name in ("one", "two"):
        one.run("reset", name)
        models[name] = origins[name]
    loaded(one)
    for name, model in [*models.items(), *forks.items()]:
        wire = one.go(name)
        for at in range(0, 32 * MIB, 4 * MIB):
            same_bytes(wire.read(at, 4 * MIB), bytes(model[at:at + 4 * MIB]), name, at)


def test_a_reset_while_it_loads_never_shows_holes(checkpoint, gate, server, together):
    """A client reads while the disk is reset to contents that are not loaded yet: it gets those before or
    those after, and no zeros."""
    def fill(one):
        wire = one.go("golden")
        for offset in range(0, 12 * MIB, MIB // 2):
            wire.write(offset, b"a" * (MIB // 2))
        one.run("fork", "golden", "job")
        for offset in range(0, 12 * MIB, MIB // 2):
            one.go("job").write(offset, b"b" * (MIB // 2))

    directory = checkpoint(fill, create=("golden=12M",))
    # The pages of the golden disk come first.
    closed = gate(directory / "pages.1", range(4 * MIB, 8 * MIB))
    one = server("--restore", directory, "--lazy", memory="256M")
    done, read_something = threading.Event(), threading.Barrier(3, timeout=30)

    def reset():
        try:
            one.run("reset", "job")
        finally:
            done.set()

    def read():
        wire, generator = one.go("job"), random.Random(1)
        turn = 0
        while turn < 50 or not done.is_set():
            if turn < 50 and done.is_set():
                read_something.abort()
                raise AssertionError("the reset did not wait")
            (letter,) = set(wire.read(generator.randrange(2800) * 4096, 4096))
            assert letter in b"ab", f"a page of {letter}"
            turn += 1
            if turn == 50:
                read_something.wait()

    def opened():
        try:
            read_something.wait()
        finally:
            closed.open()

    together(reset, read, read, opened)
    assert set(one.go("job").read(0, 12 * MIB)) == set(b"a")


def damaged(directory, page):
    """Flips a bit of a page of data."""
    with open(directory / "pages.1", "r+b") as file:
        file.seek(page * 4096)
        byte = file.read(1)
        file.seek(page * 4096)
        file.write(bytes([byte[0] ^ 4]))


def test_a_damaged_page_is_an_error_there_and_only_there(checkpoint, server, tmp_path):
    directory = checkpoint(big)
    damaged(directory, 5 * 256 + 3)  # at about 5 MiB
    refused("checksum of page", *server(memory="16M").command("serve")[:2], "--directory", tmp_path / "no",
            "--restore", directory)
    one = server("--restore", directory, "--lazy", memory="256M")
    eventually(lambda: loading(one) == {"pieces": 24, "left": 1, "failed": 1}, "one piece fails")
    assert "\nhugemem_loading_failed_bytes 2097152\n" in API(one)("GET", "/metrics")[1]
    wire = one.go("big")
    for error in (
            wire.error(READ, 5 * MIB, 4096), wire.error(READ, 3 * MIB, 4 * MIB), wire.error(WRITE, 4 * MIB, 5, 0, b"wrong"),
            wire.error(WRITE, 4 * MIB, 2 * MIB, 0, bytes(2 * MIB)), wire.error(TRIM, 5 * MIB, 4096),
            wire.error(WRITE_ZEROES, 4 * MIB, 2 * MIB, 2), wire.error(CACHE, 4 * MIB, 4096),
            wire.error(BLOCK_STATUS, 4 * MIB, 4 * MIB)):
        assert error == EIO, error
    for at in range(0, 48 * MIB, MIB // 2):
        if not 4 * MIB <= at < 6 * MIB:
            same_bytes(wire.read(at, MIB // 2), noise(MIB // 2, at + 1), "the others", at)
    lines = [line for line in one.log.read_text().splitlines() if "cannot be loaded" in line]
    assert len(lines) == 1 and "pages.1" in lines[0] and "big" in lines[0], lines
    assert "1 of them cannot be" in one.run("stat").stdout
    # A copy of all needs all of it. Forks have the damage too.
    one.refused("pages.1", "checkpoint", tmp_path / "new")
    one.run("fork", "big", "fork")
    assert one.go("fork").error(READ, 5 * MIB, 4096) == EIO
    # A trim of the whole piece makes it usable, on this disk.
    assert wire.error(TRIM, 4 * MIB, 2 * MIB) == 0
    wire.write(5 * MIB, b"again")
    same_bytes(wire.read(5 * MIB - 1, 7), b"\0again\0", "what was written")
    assert one.go("fork").error(READ, 5 * MIB, 4096) == EIO
    one.refused("is not loaded", "reset", "fork")


def test_a_file_that_cannot_be_read_any_more(checkpoint, gate, server):
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    wire = one.go("big")
    wire.read(47 * MIB, MIB)
    closed.fail()
    eventually(lambda: loading(one)["left"] == loading(one)["failed"] > 0, "the rest fails")
    same_bytes(wire.read(47 * MIB, 512), noise(512, 47 * MIB + 1), "what was loaded")
    assert wire.error(READ, 10 * MIB, 4096) == EIO
    assert len(re.findall("cannot be loaded", one.log.read_text())) == 1, one.log.read_text()


def test_a_file_that_became_shorter(checkpoint, server, gate, tmp_path):
    directory = checkpoint(big)
    good = (directory / "pages.1").read_bytes()
    (directory / "pages.1").write_bytes(good[:-1])
    refused("another size", *server(memory="16M").command("serve")[:2], "--directory", tmp_path / "no",
            "--restore", directory, "--lazy")
    (directory / "pages.1").write_bytes(good)
    closed = gate(directory / "pages.1", range(0, 46 * MIB))
    one = server("--restore", directory, "--lazy", memory="256M")
    os.truncate(closed.behind, 8 * MIB)
    closed.open()
    eventually(lambda: (loading(one) or {}).get("failed"), "a part fails")
    wire = one.go("big")
    same_bytes(wire.read(MIB, 512), noise(512, MIB + 1), "what is there")
    assert wire.error(READ, 20 * MIB, 4096) == EIO


def test_without_memory_the_rest_waits(checkpoint, server, tmp_path):
    directory = checkpoint(big)
    command = server(memory="16M").command("serve")[:2]
    refused("does not fit into the memory limit", *command, "--directory", tmp_path / "no",
            "--restore", directory, "--memory", "20M")
    one = server("--restore", directory, "--lazy", memory="20M")
    eventually(lambda: "no memory for the rest" in one.log.read_text(), "the log says that there is no memory")
    wire = one.go("big")
    same_bytes(wire.read(0, 512), noise(512, 1), "what was loaded")
    assert wire.error(READ, 40 * MIB, 4096) == ENOMEM
    assert wire.error(WRITE, 40 * MIB, 4096, 0, bytes(4096)) == ENOSPC
    assert loading(one)["failed"] == 0
    one.run("limit", "--memory", "128M")
    loaded(one)
    for at in range(0, 48 * MIB, MIB // 2):
        same_bytes(wire.read(at, MIB // 2), noise(MIB // 2, at + 1), "the disk", at)


def test_limits_hold_while_it_loads(checkpoint, gate, server):
    def fill(one):
        big(one)
        one.run("limit", "big", "--quota", "50M", "--reserve", "4M")

    directory = checkpoint(fill)
    gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    disk = one.disk("big")
    assert (disk["quota"], disk["reserve"]) == (50 * MIB, 4 * MIB), disk
    assert one.stat()["memoryPromised"] == 4 * MIB
    assert loading(one)["left"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_it_loads(checkpoint, gate, server, number):
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    one.go("big").write(47 * MIB, b"new")
    assert loading(one)["left"] > 0
    if number == signal.SIGTERM:
        one.stops_cleanly()
    else:
        one.kill()
    closed.remove()
    # The checkpoint is as it was.
    again = server("--restore", directory, "--lazy", memory="256M")
    same_bytes(again.go("big").read(0, 512), noise(512, 1), "the beginning")
    same_bytes(again.go("big").read(47 * MIB, 512), noise(512, 47 * MIB + 1), "the end")


def test_the_directory_may_change_or_go(checkpoint, gate, server, tmp_path):
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    one.go("big").read(47 * MIB, 512)
    os.rename(directory, tmp_path / "moved")
    try:
        (tmp_path / "moved" / "CHECKPOINT").unlink()
        assert loading(one)["left"] > 0
        closed.open()
        loaded(one)
    finally:
        os.rename(tmp_path / "moved", directory)
    for at in range(0, 48 * MIB, MIB // 2):
        same_bytes(one.go("big").read(at, MIB // 2), noise(MIB // 2, at + 1), "the disk", at)


def waits(one, closed, *command):
    """Starts a command that needs what cannot be read yet, and then lets it be read."""
    process = subprocess.Popen(one.command(*command))
    # It never ends before that, so this is no matter of time.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert loading(one)["left"] > 0
    closed.open()
    assert process.wait() == 0


def test_a_checkpoint_while_it_loads(checkpoint, gate, server, tmp_path):
    """A checkpoint waits for what it saves."""
    directory = checkpoint(forked, create=("golden=32M",))
    closed = gate(directory / "pages.1", range(2 * MIB))
    one = server("--restore", directory, "--lazy", memory="256M")
    one.go("two").write(26 * MIB, noise(2 * MIB, 11))
    waits(one, closed, "checkpoint", tmp_path / "new")
    before = {name: contents(one, name) for name in NAMES}
    one.run("checkpoint", "--check", tmp_path / "new")
    one.stop()
    for options in ([], ["--lazy"]):
        again = server("--restore", tmp_path / "new", *options, memory="256M")
        assert {name: contents(again, name) for name in NAMES} == before
        again.stop()


def test_changes_of_a_fork_while_it_loads(checkpoint, gate, server, tmp_path):
    """`export --changed` and `import --onto` wait for what they read."""
    directory = checkpoint(forked, create=("golden=32M",))
    eager = server("--restore", directory, memory="256M")
    before = contents(eager, "three")
    eager.stop()
    closed = gate(directory / "pages.1", range(2 * MIB))
    one = server("--restore", directory, "--lazy", memory="256M")
    waits(one, closed, "export", "--changed", "three", tmp_path / "changes.img")
    loaded(one)
    one.run("import", "--onto", "one", "again", tmp_path / "changes.img")
    assert contents(one, "again") == before == contents(one, "three")


def test_a_piece_whose_pages_are_all_there(checkpoint, server):
    """The fork has a table of its own, and no page of its own."""
    def fill(one):
        big(one)
        one.run("fork", "big", "copy")
        wire = one.go("copy")
        wire.write(0, b"own")
        assert wire.error(TRIM, 0, 4096) == 0

    one = server("--restore", checkpoint(fill), "--lazy", memory="256M")
    loaded(one)
    same_bytes(one.go("copy").read(0, MIB // 2), bytes(4096) + noise(MIB // 2, 1)[4096:], "the fork")


def test_a_resize_while_it_loads_leaves_nothing_behind(checkpoint, gate, server):
    directory = checkpoint(big)
    closed = gate(directory / "pages.1", MIDDLE)
    one = server("--restore", directory, "--lazy", memory="256M")
    one.run("resize", "big", 3 * MIB + 1000, "--shrink")
    one.run("resize", "big", "48M")
    wire = one.go("big")
    wanted = noise(MIB // 2, 3 * MIB + 1)[:1000]
    same_bytes(wire.read(3 * MIB, 40 * MIB), wanted + bytes(40 * MIB - 1000), "what was cut off", 3 * MIB)
    closed.open()
    loaded(one)
    same_bytes(wire.read(3 * MIB, 40 * MIB), wanted + bytes(40 * MIB - 1000), "what was cut off", 3 * MIB)


def test_options_that_do_not_go_together(checkpoint, server, tmp_path):
    command = server(memory="16M").command("serve")[:2] + ["--directory", tmp_path / "no"]
    refused("--lazy: needs --restore", *command, "--lazy")
    refused("leave out --lazy", *command, "--restore", tmp_path, "--lazy", "--survive")
    refused("leave out --lazy", *command, "--restore", tmp_path, "--lazy", "--memory-file", "/dev/shm/no")
    refused("no checkpoint in the directory", *command, "--restore", tmp_path, "--lazy")


@pytest.mark.deadline(300)
def test_tables_that_lie(checkpoint, server, tmp_path):
    """Any upper or lower table that is damaged, with checksums that fit: a refusal or an error of reads, and
    never a crash."""
    directory = checkpoint(forked, create=("golden=32M",))
    generator = random.Random(int(os.environ.get("SEED", "3")))
    answers = set()
    for _ in lying_tables(directory, (directory / "pages.1").read_bytes(), generator, turns=24):
        try:
            one = server("--restore", directory, "--lazy", memory="64M")
        except AssertionError as failure:
            assert "damaged" in str(failure) or "does not fit" in str(failure), failure
            answers.add("refused")
            continue
        eventually(lambda: not loading(one) or loading(one)["left"] == loading(one)["failed"], "it ends")
        for name in one.names():
            assert one.go(name).error(READ, 0, 4096) in (0, EIO)
        answers.add("ready")
        one.stops_cleanly()
    assert answers == {"ready", "refused"}, answers
