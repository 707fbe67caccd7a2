"""Images of other formats, other NBD servers, and the changes of a fork: out and in again."""

import json
import os
import random
import signal
import subprocess

import pytest

from support.compare import eventually, noise, same_bytes, same_files
from support.tools import needs, run

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.fixture
def empty(server):
    return server(memory="512M")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.raw"
    with open(path, "wb") as file:
        file.truncate(GIB)
        for at in (0, 5 * MIB, 700 * MIB + 512):
            file.seek(at)
            file.write(noise(MIB + 512))
    return path


def whole(server, disk, path):
    """Exports a disk and returns the path."""
    server.run("export", disk, path)
    return path


# Other formats


@pytest.mark.parametrize("format", ["qcow2", "vmdk", "vhdx", "vpc", "vdi"])
def test_an_image_of_another_format(empty, image, tmp_path, format):
    other = tmp_path / f"image.{format}"
    options = ["-o", "force_size=on"] if format == "vpc" else []
    run("qemu-img", "convert", "-O", format, *options, image, other)
    empty.run("import", "disk", other, "--read-only", "--description", format)
    assert empty.names() == ["disk"]
    disk = empty.disk("disk")
    assert disk["size"] == GIB and disk["isReadOnly"] and disk["description"] == format
    assert disk["data"] < 8 * MIB, "holes stay holes"
    same_files(whole(empty, "disk", tmp_path / "out"), image, GIB)


def test_a_larger_size(empty, image, tmp_path):
    run("qemu-img", "convert", "-O", "qcow2", image, tmp_path / "image.qcow2")
    empty.run("import", "disk", tmp_path / "image.qcow2", "--size", "2G")
    assert empty.disk("disk")["size"] == 2 * GIB
    empty.refused("give a larger size", "import", "small", tmp_path / "image.qcow2", "--size", "1M")


def test_an_image_that_takes_bytes_from_another_file_must_be_trusted(empty, image, tmp_path):
    """An image from a stranger could name a file that only you can read."""
    overlay = tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-f", "qcow2", "-b", image, "-F", "raw", overlay)
    empty.refused("takes bytes from another file.*image.raw.*--allow-backing", "import", "disk", overlay)
    data = tmp_path / "external"
    run("qemu-img", "create", "-f", "qcow2", "-o", f"data_file={data}", tmp_path / "split.qcow2", "1M")
    empty.refused("takes bytes from another file", "import", "disk", tmp_path / "split.qcow2")
    flat = tmp_path / "flat.vmdk"
    run("qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "1M")
    empty.refused("takes bytes from another file", "import", "disk", flat)
    assert empty.names() == []
    empty.run("import", "disk", overlay, "--allow-backing")
    same_files(whole(empty, "disk", tmp_path / "out"), image, GIB)


@pytest.mark.parametrize("spoil, wanted", [
    (lambda data: data[:100], "qemu-img failed|is not understood"), (lambda data: data[:4] + os.urandom(4000), "qemu-img failed")])
def test_a_broken_image(empty, tmp_path, spoil, wanted):
    good = tmp_path / "good.qcow2"
    run("qemu-img", "create", "-f", "qcow2", good, "1M")
    (tmp_path / "bad.qcow2").write_bytes(spoil(good.read_bytes()))
    empty.refused(wanted, "import", "disk", tmp_path / "bad.qcow2")
    assert empty.names() == []


def test_names_that_are_taken_and_limits(empty, image, tmp_path):
    run("qemu-img", "convert", "-O", "qcow2", image, tmp_path / "image.qcow2")
    empty.run("create", "disk", "--size", "1M")
    empty.refused("exists already", "import", "disk", tmp_path / "image.qcow2")
    empty.refused("failed", "import", "small", tmp_path / "image.qcow2", "--quota", "1M")
    assert empty.names() == ["disk"]


def test_without_qemu_img_the_error_names_the_package(empty, tmp_path):
    (tmp_path / "image.qcow2").write_bytes(b"QFI\xfb" + bytes(508))
    empty.refused("needs qemu-img; install the package qemu-utils", "import", "disk", tmp_path / "image.qcow2",
                  env={"PATH": str(tmp_path)})


@pytest.mark.parametrize("format", ["qcow2", "vmdk"])
def test_a_stream_of_another_format_is_refused(empty, tmp_path, format):
    run("qemu-img", "create", "-q", "-f", format, tmp_path / "image", "1M")
    with open(tmp_path / "image", "rb") as file:
        done = subprocess.run(empty.command("import", "disk", "-"), stdin=file, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"is a {format} image" in done.stderr and "qemu-img convert" in done.stderr
    assert empty.names() == []


# Other servers


def test_a_disk_of_another_server(empty, image, tmp_path):
    needs("nbdkit")
    socket = tmp_path / "other.sock"
    with subprocess.Popen(["nbdkit", "-f", "-U", str(socket), "file", str(image)]) as other:
        eventually(socket.exists, "nbdkit listens")
        empty.run("import", "disk", f"nbd+unix:///?socket={socket}")
        other.terminate()
    same_files(whole(empty, "disk", tmp_path / "out"), image, GIB)
    assert empty.disk("disk")["data"] < 8 * MIB


def test_a_server_that_does_not_answer(empty, tmp_path):
    empty.refused("nbdinfo failed", "import", "disk", f"nbd+unix:///?socket={tmp_path}/nosuch")
    assert empty.names() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_ends_in_the_middle_leaves_nothing(empty, tmp_path, number):
    needs("nbdkit")
    socket = tmp_path / "slow.sock"
    with subprocess.Popen(["nbdkit", "-f", "-U", str(socket), "--filter=delay", "data", "0x55*67108864",
                           "rdelay=200ms"]) as other:
        eventually(socket.exists, "nbdkit listens")
        command = subprocess.Popen(empty.command("import", "disk", f"nbd+unix:///?socket={socket}"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: any(disk["connections"] for disk in empty.json("list")), "the copy has begun")
        command.send_signal(number)
        command.wait(20)
        eventually(lambda: empty.names() == [], "no disk is left")
        eventually(lambda: empty.stat()["memoryUsed"] <= MIB, "no memory is left")
        other.terminate()


def test_a_disk_that_is_being_filled_is_not_offered(empty, tmp_path):
    needs("nbdkit")
    from support.wire import LIST, REP_SERVER
    socket = tmp_path / "slow.sock"
    with subprocess.Popen(["nbdkit", "-f", "-U", str(socket), "--filter=delay", "data", "0x55*1048576",
                           "rdelay=100ms"]) as other:
        eventually(socket.exists, "nbdkit listens")
        with subprocess.Popen(empty.command("import", "disk", f"nbd+unix:///?socket={socket}")) as command:
            eventually(lambda: any(disk["connections"] for disk in empty.json("list")) or command.poll() is not None,
                       "the copy has begun")
            assert not [1 for kind, payload in empty.wire().option(LIST) if kind == REP_SERVER and b".import" in payload]
        other.terminate()
    assert empty.names() == ["disk"]


# Changes


def change(wire, seed, size, times=40):
    """Random writes, trims and zeroes."""
    order = random.Random(seed)
    from support.wire import TRIM, WRITE_ZEROES
    for _ in range(times):
        at = order.randrange(size - 200 * KIB)
        length = order.choice([1, 511, 4096, 70 * KIB, 200 * KIB])
        if order.random() < 0.6:
            wire.write(at, order.randbytes(length))
        else:
            assert wire.error(order.choice([TRIM, WRITE_ZEROES]), at, length) == 0


@pytest.fixture
def job(server, tmp_path):
    """A golden disk, and a fork of it with changes."""
    made = server(memory="512M", create="golden=64M")
    change(made.go("golden"), 1, 64 * MIB, 100)
    made.run("fork", "golden", "job")
    change(made.go("job"), 2, 64 * MIB)
    for wire in made.wires:
        wire.close()
    return made


def test_changes_go_out_and_in_again(job, tmp_path, figure):
    before = whole(job, "job", tmp_path / "whole").read_bytes()
    golden = whole(job, "golden", tmp_path / "golden").read_bytes()
    delta = tmp_path / "delta"
    job.run("export", "job", delta, "--changed")
    changes = json.loads((tmp_path / "delta.map").read_text())
    assert changes["format"] == "hugemem-changes" and changes["version"] == 1
    assert (changes["disk"], changes["origin"], changes["size"]) == ("job", "golden", 64 * MIB)
    expected, data = bytearray(golden), delta.read_bytes()
    for part in changes["ranges"]:
        start, length = part["start"], part["length"]
        expected[start:start + length] = data[start:start + length] if part["data"] else bytes(length)
    same_bytes(bytes(expected), before, "the origin with the changes")
    own = job.disk("job")["own"]
    job.remove("job")
    job.run("import", "again", delta, "--onto", "golden", "--description", "back")
    same_bytes(whole(job, "again", tmp_path / "back").read_bytes(), before, "what came back")
    disk = job.disk("again")
    assert disk["origin"] == "golden" and disk["hasOrigin"] and disk["description"] == "back"
    assert disk["own"] <= own + 64 * KIB, "what did not change is shared with the origin"
    job.run("reset", "again")
    same_bytes(whole(job, "again", tmp_path / "reset").read_bytes(), golden, "after a reset")
    figure(f"a delta of {sum(part['length'] for part in changes['ranges']) >> 10} KiB in {len(changes['ranges'])} ranges")


def test_changes_since_a_reset_are_none(job, tmp_path):
    job.run("reset", "job")
    job.run("export", "job", tmp_path / "delta", "--changed")
    assert json.loads((tmp_path / "delta.map").read_text())["ranges"] == []
    assert (tmp_path / "delta").stat().st_blocks == 0


def test_a_resized_fork(job, tmp_path):
    job.run("resize", "job", "80M")
    job.go("job").write(70 * MIB, b"beyond")
    before = whole(job, "job", tmp_path / "whole").read_bytes()
    job.run("export", "job", tmp_path / "delta", "--changed", "--map", tmp_path / "elsewhere")
    job.run("import", "again", tmp_path / "delta", "--onto", "golden", "--map", tmp_path / "elsewhere")
    same_bytes(whole(job, "again", tmp_path / "back").read_bytes(), before, "what came back")


def test_changes_of_one_moment_while_clients_write(job, tmp_path, together):
    wire = job.go("job")
    stamp = [0]

    def writer():
        for number in range(1, 400):
            block = number.to_bytes(8, "big") * 512
            for at in (0, 32 * MIB, 63 * MIB):
                wire.write(at, block)
            stamp[0] = number

    def exporter():
        for number in range(5):
            job.run("export", "job", tmp_path / f"d{number}", "--changed")

    together(writer, exporter)
    for number in range(5):
        with open(tmp_path / f"d{number}", "rb") as file:
            seen = [int.from_bytes((file.seek(at), file.read(8))[1], "big") for at in (0, 32 * MIB, 63 * MIB)]
        if seen[0] < 1000:  # before the first stamp, the fork's random bytes are there
            assert seen[0] >= seen[1] >= seen[2] >= seen[0] - 1 or seen[1] > 1000 or seen[2] > 1000


def test_qcow2_with_the_origin_as_backing_file(job, tmp_path):
    golden = whole(job, "golden", tmp_path / "golden.raw")
    before = whole(job, "job", tmp_path / "whole.raw")
    overlay = tmp_path / "job.qcow2"
    job.run("export", "job", overlay, "--changed", "--format", "qcow2", "--backing", golden)
    run("qemu-img", "check", overlay)
    assert "identical" in run("qemu-img", "compare", "-F", "raw", "-f", "qcow2", overlay, before).stdout
    assert overlay.stat().st_size < 16 * MIB
    own = [part for part in json.loads(run("qemu-img", "map", "--output=json", overlay).stdout) if part["depth"] == 0]
    assert 0 < sum(part["length"] for part in own) < 32 * MIB, "only changes are in the overlay"
    job.run("import", "again", overlay, "--onto", "golden")
    same_bytes(whole(job, "again", tmp_path / "back").read_bytes(), before.read_bytes(), "what came back")
    assert job.disk("again")["origin"] == "golden"


def test_a_whole_disk_as_qcow2(job, tmp_path):
    before = whole(job, "job", tmp_path / "whole.raw")
    job.run("export", "job", tmp_path / "job.qcow2", "--format", "qcow2")
    run("qemu-img", "check", tmp_path / "job.qcow2")
    assert "identical" in run("qemu-img", "compare", "-F", "raw", "-f", "qcow2", tmp_path / "job.qcow2", before).stdout
    assert job.names() == ["golden", "job"]
    assert not [name for name in os.listdir(tmp_path) if ".hugemem-" in name]


@pytest.mark.parametrize("arguments, wanted", [
    (["golden", "OUT", "--changed"], "is not a fork"), (["job", "-", "--changed"], "not a stream"),
    (["job", "OUT", "--format", "qed"], "use raw or qcow2"), (["job", "OUT", "--map", "x"], "--map"),
    (["job", "OUT", "--backing", "x"], "--backing"), (["job", "OUT", "--changed", "--format", "qcow2"], "--backing"),
    (["job", "-", "--format", "qcow2"], "cannot be a stream"), (["nosuch", "OUT", "--changed"], "no disk is named"),
    (["job", "/nosuch/out", "--format", "qcow2"], "qemu-img failed"), (["job", "FIFO", "--changed"], "regular file"),
    (["job", "OUT", "--changed", "--format", "qcow2", "--backing", "/nosuch"], "qemu-img failed")])
def test_exports_that_cannot_be(job, tmp_path, arguments, wanted):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    places = {"OUT": str(tmp_path / "out"), "FIFO": str(tmp_path / "fifo")}
    job.refused(wanted, "export", *(places.get(part, part) for part in arguments))
    os.close(reader)
    assert not (tmp_path / "out").exists() and job.names() == ["golden", "job"]


def lie(changes, how):
    """A map that lies, and what the message must say."""
    ranges = changes["ranges"]
    if how == "overlap":
        ranges.insert(1, dict(ranges[0]))
        return "overlaps"
    if how == "order":
        ranges.reverse()
        return "out of order"
    if how == "beyond":
        ranges.append({"start": 64 * MIB, "length": 1, "data": False})
        return "beyond the end"
    if how == "wraps":
        ranges.append({"start": (1 << 64) - 4096, "length": 8192, "data": False})
        return "beyond the end"
    if how == "empty":
        ranges.append({"start": 64 * MIB, "length": 0, "data": False})
        return "is empty"
    if how == "negative":
        ranges[0]["start"] = -1
        return "no map of changes"
    if how == "huge number":
        ranges[0]["start"] = 10**30
        return "no map of changes"
    if how == "version":
        changes["version"] = 2
        return "version 1"
    if how == "format":
        changes["format"] = "other"
        return "version 1"
    if how == "no ranges":
        del changes["ranges"]
        return "ranges"
    if how == "other origin":
        changes["originSize"] = 32 * MIB
        return "changes to a disk of"
    if how == "size 0":
        changes["size"], changes["ranges"] = 0, []
        return "cannot have 0 bytes"
    if how == "huge size":
        changes["size"] = 1 << 63
        return "cannot have 9223372036854775808 bytes"
    raise AssertionError(how)


@pytest.mark.parametrize("how", [
    "overlap", "order", "beyond", "wraps", "empty", "negative", "huge number", "version", "format", "no ranges",
    "other origin", "size 0", "huge size"])
def test_maps_that_lie(job, tmp_path, how):
    job.run("export", "job", tmp_path / "delta", "--changed")
    changes = json.loads((tmp_path / "delta.map").read_text())
    wanted = lie(changes, how)
    (tmp_path / "delta.map").write_text(json.dumps(changes))
    job.refused(wanted, "import", "again", tmp_path / "delta", "--onto", "golden")
    assert job.names() == ["golden", "job"]


@pytest.mark.parametrize("content, wanted", [
    (None, "No such file"), (b"", "no map of changes"), (b"{", "no map of changes"), (b"[]", "no map of changes"),
    (b"\xff\xfe", "no map of changes"), (b"{}", "is missing")])
def test_files_that_are_no_map(job, tmp_path, content, wanted):
    (tmp_path / "delta").write_bytes(b"x")
    if content is not None:
        (tmp_path / "delta.map").write_bytes(content)
    job.refused(wanted, "import", "again", tmp_path / "delta", "--onto", "golden")


def test_a_delta_that_is_cut_off(job, tmp_path):
    job.run("export", "job", tmp_path / "delta", "--changed")
    os.truncate(tmp_path / "delta", MIB)
    job.refused("shorter than its map", "import", "again", tmp_path / "delta", "--onto", "golden")
    job.refused("no disk is named", "import", "again", tmp_path / "delta", "--onto", "nosuch")
    job.refused("exists already", "import", "job", tmp_path / "delta", "--onto", "golden")
    assert job.names() == ["golden", "job"]
    eventually(lambda: job.disk("golden")["own"] + job.disk("job")["own"] > 0, "both are still there")
