"""Checkpoints: what they have, what is left when they are interrupted, and what comes back."""
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from support.checkpoint_files import lying_tables, with_checksum
from support.compare import noise, same_bytes
from support.tools import refused, run

MIB = 1 << 20


def contents(server, *names):
    """A hash of each disk, by a client that reads all of it."""
    hashes = {}
    for name in names:
        done = subprocess.run(
            server.command("export", name, "-"), check=True, stdout=subprocess.PIPE)
        hashes[name] = hashlib.sha256(done.stdout).hexdigest()
    return hashes


def saved(server, directory, *names):
    return server.run("checkpoint", directory, *names).stdout


@pytest.fixture
def golden(server):
    """A golden disk of 32 MiB and two forks of it, of which one has changes."""
    server = server(memory="512M", create=["golden=32M", "empty=1T"])
    wire = server.go("golden")
    for offset in range(0, 8 * MIB, 2 * MIB):
        wire.write(offset, noise(MIB, offset + 1))
    server.run("fork", "golden", "one", "two")
    wire.close()
    wire = server.go("one")
    wire.write(5000, b"changed")
    wire.close()
    return server


NAMES = ("golden", "one", "two")


def test_everything_comes_back(golden, server, tmp_path):
    golden.run("set", "two", "--read-only", "--description", "the second")
    golden.run("limit", "one", "--quota", "16M")
    before, disks = contents(golden, *NAMES), golden.json("list")
    print(saved(golden, tmp_path / "cp"))
    golden.kill()
    again = server("--restore", tmp_path / "cp", memory="512M")
    assert contents(again, *NAMES) == before
    kept = ("name", "size", "origin", "isReadOnly", "description", "quota")
    assert [{key: disk.get(key) for key in kept} for disk in again.json("list")] \
        == [{key: disk.get(key) for key in kept} for disk in disks]
    # What forks shared, they share again, and they can be reset and written.
    assert again.stat()["memoryUsed"] < 6 * MIB
    again.run("reset", "one")
    assert contents(again, "one")["one"] == before["golden"]
    again.go("golden").write(0, b"new")
    assert contents(again, "one")["one"] == before["golden"]
    same_bytes(again.go("golden").read(0, 3), b"new", "golden")


def test_the_next_one_writes_only_what_changed(golden, server, tmp_path):
    directory = tmp_path / "cp"
    saved(golden, directory)
    size = sum(os.path.getsize(directory / name) for name in os.listdir(directory))
    golden.go("two").write(3 * MIB, noise(4096, 9))
    said = saved(golden, directory)
    assert "2 in" in said and "the rest is as in the last one" in said
    new = sum(os.path.getsize(directory / name) for name in os.listdir(directory)) - size
    assert 4096 < new < 20000, f"{new} bytes for a page"
    golden.remove("one")
    before = contents(golden, "golden", "two")
    saved(golden, directory)
    golden.kill()
    # A server that was started with it goes on from it.
    again = server("--restore", directory, memory="512M")
    assert contents(again, "golden", "two") == before
    assert sorted(again.names()) == ["empty", "golden", "two"]
    again.go("two").write(0, b"more")
    assert "the rest is as in the last one" in saved(again, directory)


def test_a_checkpoint_after_much_change_leaves_no_garbage(golden, tmp_path):
    directory = tmp_path / "cp"
    wire = golden.go("golden")
    for turn in range(6):
        for offset in range(0, 16 * MIB, MIB):
            wire.write(offset, noise(MIB, turn * 100 + offset))
        saved(golden, directory, "golden")
    size = sum(os.path.getsize(directory / name) for name in os.listdir(directory))
    assert size < 60 * MIB, f"{size >> 20} MiB for 16 MiB of data"


def test_only_some_disks(golden, server, tmp_path):
    saved(golden, tmp_path / "cp", "one")
    golden.refused("no disk", "checkpoint", tmp_path / "cp", "three")
    again = server("--restore", tmp_path / "cp", memory="512M")
    assert again.names() == ["one"]
    assert again.json("list")[0]["origin"] == "golden"
    again.run("reset", "one")


def test_a_write_is_not_there_without_the_one_before(server, tmp_path):
    """A client counts up, on one disk and then on another. No checkpoint has the second disk ahead."""
    one = server(memory="256M", create=["first=1M", "second=1M"])
    stop = threading.Event()

    def count():
        first, second = one.go("first"), one.go("second")
        number = 0
        while not stop.is_set():
            number += 1
            first.write(0, number.to_bytes(8, "little"))
            second.write(0, number.to_bytes(8, "little"))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for turn in range(8):
            saved(one, tmp_path / f"cp{turn}")
            time.sleep(random.random() / 20)
    finally:
        stop.set()
        thread.join()
    for turn in range(8):
        again = server("--restore", tmp_path / f"cp{turn}", memory="64M")
        first, second = (int.from_bytes(again.go(name).read(0, 8), "little") for name in ("first", "second"))
        assert second <= first <= second + 1, f"{first} and {second}"
        again.stop()


@pytest.mark.deadline(300)
def test_the_server_is_killed_at_any_time(server, tmp_path):
    """SIGKILL while checkpoints are written: the directory has a whole one, of some moment."""
    directory = tmp_path / "cp"
    generator = random.Random(int(os.environ.get("SEED", "1")))
    one = server(memory="256M", create="disk=64M")
    wire, number = one.go("disk"), 0
    acknowledged = 0
    for turn in range(12):
        # Each page of the disk says the same number, so a mixture shows.
        number += 1
        page = number.to_bytes(8, "little") * 512
        for offset in range(0, 8 * MIB, MIB):
            wire.write(offset, page * 256)
        saving = subprocess.Popen(
            one.command("checkpoint", directory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(generator.random() * 0.04)
        one.kill()
        if saving.wait() == 0 and b"checkpoint" in saving.stdout.read():
            acknowledged = number
        if acknowledged == 0 and not (directory / "CHECKPOINT").exists():
            one = server(memory="256M", create="disk=64M")
            wire = one.go("disk")
            continue
        one = server("--restore", directory, memory="256M")
        wire = one.go("disk")
        data = wire.read(0, 8 * MIB)
        numbers = {data[at:at + 8] for at in range(0, 8 * MIB, 4096)}
        assert len(numbers) == 1, "a mixture of two checkpoints"
        seen = int.from_bytes(numbers.pop(), "little")
        assert acknowledged <= seen <= number, f"{seen}; {acknowledged} was acknowledged"
        number = seen


def test_an_interrupted_command_leaves_the_last_one(golden, tmp_path):
    directory = tmp_path / "cp"
    saved(golden, directory, "golden")
    before = (directory / "CHECKPOINT").read_bytes()
    wire = golden.go("golden")
    for offset in range(0, 32 * MIB, MIB):
        wire.write(offset, noise(MIB, offset + 7))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        command = subprocess.Popen(golden.command("checkpoint", directory), stdout=subprocess.DEVNULL)
        time.sleep(0.003)
        command.send_signal(number)
        command.wait()
    run(*golden.command("checkpoint", "--check", directory))
    if (directory / "CHECKPOINT").read_bytes() == before:
        saved(golden, directory, "golden")
    assert len([name for name in os.listdir(directory) if name.startswith("pages.")]) <= 4


def test_a_full_file_system_keeps_the_last_one(golden, mounted):
    directory = mounted("tmpfs", "size=12m")
    saved(golden, directory)
    before = contents(golden, *NAMES)
    wire = golden.go("empty")
    wire.write(0, noise(16 * MIB, 3))
    wire.close()
    golden.refused("no space is left for the checkpoint; the last one is as it was", "checkpoint", directory)
    assert "every page is good" in golden.run("checkpoint", "--check", directory).stdout
    names = os.listdir(directory)
    assert sorted(names) == ["CHECKPOINT", "pages.1"], names
    assert contents(golden, *NAMES) == before
    golden.remove("empty")
    saved(golden, directory)


def test_wrong_directories_are_said(golden, tmp_path):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for wrong in ("file", "pipe", "no/such"):
        golden.refused("file|pipe|no/such", "checkpoint", tmp_path / wrong)
    golden.refused("there is no checkpoint", "checkpoint", "--check", tmp_path)
    serve = [*golden.command("serve")[:2], "--directory", tmp_path / "other", "--restore"]
    refused("there is no checkpoint in the directory", *serve, tmp_path)
    refused("No such file", *serve, tmp_path / "missing")
    saved(golden, tmp_path / "cp")
    manifest = tmp_path / "cp/CHECKPOINT"
    line = manifest.read_text().splitlines()[0]
    for text, wanted in (
            ("", "no manifest|checksum"), (line, "checksum"), (line + "\ncrc32c 0\n", "checksum"),
            (with_checksum(line.replace('"version":1', '"version":2')), "version 2 of the format"),
            (with_checksum("{}"), "no manifest"), (with_checksum("[]"), "no manifest"),
            (with_checksum(line.replace("32", "-1")), "damaged")):
        manifest.write_text(text)
        golden.refused(wanted, "checkpoint", "--check", tmp_path / "cp")
        golden.refused(wanted, "checkpoint", tmp_path / "cp")
        assert manifest.read_text() == text, "it is left as it was"


@pytest.mark.deadline(400)
def test_bits_that_flip_are_found(golden, server, tmp_path):
    """Any byte of the files that changes, also with checksums that fit: a refusal, and never a crash."""
    directory = tmp_path / "cp"
    saved(golden, directory, "one", "golden")
    before = contents(golden, "one", "golden")
    pages = directory / "pages.1"
    good = pages.read_bytes()
    generator = random.Random(int(os.environ.get("SEED", "2")))
    for _ in range(40):
        bad = bytearray(good)
        bad[generator.randrange(len(bad))] ^= 1 << generator.randrange(8)
        pages.write_bytes(bad)
        golden.refused("damaged", "checkpoint", "--check", directory)
    for length in (0, 1, 4096, len(good) - 1):
        pages.write_bytes(good[:length])
        golden.refused("damaged", "checkpoint", "--check", directory)
    # Tables that lie, with good checksums.
    answers = set()
    for _ in lying_tables(directory, good, generator, turns=40):
        again = subprocess.run(
            [*golden.command("serve")[:2], "--directory", tmp_path / "bad", "--memory", "64M", "--restore", directory,
             "--check"], capture_output=True, text=True)
        assert again.returncode in (0, 1, 64), again.stderr
        process = subprocess.Popen(
            [*golden.command("serve")[:2], "--directory", tmp_path / "bad", "--memory", "64M", "--restore", directory],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        process.terminate()
        _, error = process.communicate(timeout=20)
        answers.add("ready" if "ready" in line else "refused")
        assert "ready" in line or "damaged" in error, error
        assert "Fatal" not in error and "Crash" not in error, error
    assert answers == {"ready", "refused"}, answers
    assert contents(golden, "one", "golden") == before


def test_it_does_not_fit_into_memory(golden, tmp_path):
    saved(golden, tmp_path / "cp")
    refused("does not fit into the memory limit", *golden.command("serve")[:2], "--directory", tmp_path / "small",
            "--restore", tmp_path / "cp", "--memory", "3M")


def test_when_memory_is_short_the_last_one_goes_first(server, tmp_path):
    """What the last checkpoint keeps in memory is no reason to refuse a write."""
    one = server(memory="64M", create="disk=256M")
    wire = one.go("disk")
    for offset in range(0, 40 * MIB, MIB):
        wire.write(offset, noise(MIB, offset))
    saved(one, tmp_path / "cp")
    for offset in range(0, 40 * MIB, MIB):
        wire.write(offset, noise(MIB, offset + 1))
    said = saved(one, tmp_path / "cp")
    assert "the rest is as in" not in said, said
    same_bytes(wire.read(MIB, MIB), noise(MIB, MIB + 1), "what was written last")


def test_files_of_others_are_left_alone(golden, tmp_path):
    """A directory with anything else is refused. Once there is a checkpoint, only its own files are touched."""
    directory = tmp_path / "cp"
    directory.mkdir()
    for foreign in ("pages.7", "pages.txt", "notes"):
        (directory / foreign).write_text("mine")
        golden.refused(f"has other files, such as {foreign}", "checkpoint", directory)
        assert (directory / foreign).read_text() == "mine" and os.listdir(directory) == [foreign]
        (directory / foreign).unlink()
    # What an interrupted one left may have another name too, and any mode.
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.chmod(victim, 0o644)
    os.link(victim, directory / "pages.1")
    (directory / ".hidden").write_text("mine")
    saved(golden, directory)
    assert victim.read_text() == "precious"
    assert {name: os.stat(directory / name).st_mode & 0o777 for name in ("pages.1", "CHECKPOINT")} \
        == {"pages.1": 0o600, "CHECKPOINT": 0o600}
    for foreign in ("pages.txt", "pages.01", "notes"):
        (directory / foreign).write_text("mine")
    (directory / "pages.2").mkdir()
    golden.go("one").write(0, b"changed")
    golden.refused("make pages.2: File exists", "checkpoint", directory)
    (directory / "pages.2").rmdir()
    saved(golden, directory)
    assert sorted(os.listdir(directory)) \
        == [".hidden", "CHECKPOINT", "notes", "pages.01", "pages.1", "pages.2", "pages.txt"]
    assert "every page is good" in golden.run("checkpoint", "--check", directory).stdout


def test_a_refused_checkpoint_leaves_no_directory(golden, tmp_path):
    golden.refused("no disk", "checkpoint", tmp_path / "cp", "three")
    assert not (tmp_path / "cp").exists()
    golden.refused("dir: is empty", "checkpoint", "")


def test_two_servers_save_to_one_directory(golden, server, tmp_path):
    directory = tmp_path / "cp"
    saved(golden, directory)
    holder = os.open(directory, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    before = {name: (directory / name).read_bytes() for name in os.listdir(directory)}
    golden.refused("another server is writing a checkpoint there", "checkpoint", directory)
    assert {name: (directory / name).read_bytes() for name in os.listdir(directory)} == before
    os.close(holder)
    # Whoever comes first, and whatever each takes the last one for.
    servers, done = [golden, server(memory="128M", create="other=64M")], []
    servers[1].go("other").write(0, noise(8 * MIB, 5))

    def save(one):
        for turn in range(8):
            disk = "other" if one is servers[1] else "one"
            one.go(disk).write(turn * MIB, noise(4096, turn))
            result = run(*one.command("checkpoint", directory), check=False)
            done.append((result.returncode, result.stderr))

    threads = [threading.Thread(target=save, args=(one,)) for one in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in done} <= {0, 1}
    assert all("another server" in message for status, message in done if status), done
    assert "every page is good" in golden.run("checkpoint", "--check", directory).stdout
    # The same number of checkpoints is not the same checkpoint.
    for one, names in ((golden, NAMES), (servers[1], ("other",))):
        saved(one, directory, *names)
        assert all(f"  {name}," in one.run("checkpoint", "--check", directory).stdout for name in names)
    for one in servers:
        for name in os.listdir(directory):
            os.unlink(directory / name)
        saved(one, directory)
        said = saved(servers[0], directory)
        assert ("the rest is as in the last one" in said) == (one is servers[0]), said
        assert "every page is good" in golden.run("checkpoint", "--check", directory).stdout


@pytest.mark.parametrize("harm", ["removed", "cut", "a link", "a pipe"])
def test_the_next_one_does_not_build_on_a_broken_one(golden, tmp_path, harm):
    directory = tmp_path / "cp"
    saved(golden, directory)
    pages = directory / "pages.1"
    if harm == "cut":
        os.truncate(pages, os.path.getsize(pages) - 1)
    else:
        pages.rename(tmp_path / "away")
    if harm == "a link":
        pages.symlink_to(tmp_path / "away")
    if harm == "a pipe":
        os.mkfifo(pages)
    golden.go("one").write(0, b"changed")
    assert "as in the last one" not in saved(golden, directory)
    assert "every page is good" in golden.run("checkpoint", "--check", directory).stdout
    assert sorted(os.listdir(directory)) == ["CHECKPOINT", "pages.2"]


def test_a_disk_that_is_named_twice_is_saved_once(golden, tmp_path):
    assert ": 1 disk," in saved(golden, tmp_path / "cp", "one", "one")
