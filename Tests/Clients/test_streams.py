"""Images as streams and devices: `-`, pipes and FIFOs both ways, `--size`, block devices and
links."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from support.compare import noise, same_bytes, same_files
from support.tools import needs, run

MIB = 1 << 20


@pytest.fixture
def image(tmp_path):
    """An image of 20 MiB less a byte, with data at both ends, and zeros and a hole between."""
    path = tmp_path / "image"
    with open(path, "wb") as file:
        file.write(noise(3 * MIB + 7) + bytes(MIB))
        file.seek(19 * MIB)
        file.write(noise(MIB - 1, seed=2))
    return path


@pytest.fixture
def golden(server, image):
    server = server()
    server.run("import", "golden", image)
    return server


def test_a_pipe_is_imported_to_its_end_and_its_zeros_take_no_memory(server, image):
    server = server()
    data = image.read_bytes()
    server.run("import", "golden", "-", input=data, text=False)
    assert server.disk("golden")["size"] == len(data)
    # Pages for 3 MiB and 7 bytes, and for the last MiB.
    assert server.data("golden") == 4 * MIB + 4096
    same_bytes(run(*server.command("export", "golden", "-"), text=False).stdout, data)


def test_a_compressed_image_goes_through_a_shell_as_the_manual_says(server, image, tmp_path):
    needs("gzip")
    server = server()
    shell = {"IMAGE": image, "OUT": tmp_path / "out.gz", "D": server.directory,
             "HUGEMEM": server.command("list")[0]}
    script = """set -eo pipefail
        gzip -c "$IMAGE" | zcat | "$HUGEMEM" import --directory "$D" golden -
        "$HUGEMEM" export --directory "$D" golden - | gzip -1 >"$OUT" """
    run("bash", "-c", script, env={**os.environ, **{name: str(value) for name, value in shell.items()}})
    same_bytes(run("zcat", tmp_path / "out.gz", text=False).stdout, image.read_bytes())


def test_a_fifo_works_both_ways(golden, image, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(golden.command("export", "golden", fifo))
    golden.run("import", "copy", fifo)
    assert writer.wait(60) == 0
    golden.run("export", "copy", tmp_path / "out")
    same_files(tmp_path / "out", image)
    assert fifo.is_fifo(), "the FIFO is still there"


def test_a_redirected_file_is_read_from_its_offset_and_written_sparsely(golden, image, tmp_path):
    with open(image, "rb") as file, open(tmp_path / "out", "wb") as out:
        os.lseek(file.fileno(), MIB, os.SEEK_SET)
        subprocess.run(golden.command("import", "rest", "-"), stdin=file, check=True, timeout=60)
        out.write(b"head")
        out.flush()
        subprocess.run(golden.command("export", "rest", "-"), stdout=out, check=True, timeout=60)
        os.write(out.fileno(), b"tail")
    wanted = b"head" + image.read_bytes()[MIB:] + b"tail"
    same_bytes((tmp_path / "out").read_bytes(), wanted)
    assert os.stat(tmp_path / "out").st_blocks * 512 < 6 * MIB


def test_size_may_say_more_and_never_less(golden, image):
    data = image.read_bytes()
    golden.run("import", "larger", image, "--size", "1G")
    golden.run("import", "streamed", "-", "--size", "1G", input=data, text=False)
    for name in ("larger", "streamed"):
        assert golden.disk(name)["size"] == 1 << 30
        assert golden.data(name) == golden.data("golden")
    golden.refused("larger --size", "import", "less", image, "--size", "1M")
    done = run(*golden.command("import", "less", "-", "--size", "1M"), input=data, text=False, check=False)
    assert done.returncode == 1 and b"larger --size" in done.stderr
    assert golden.names() == ["golden", "larger", "streamed"]


def test_an_empty_stream_is_no_disk(server):
    server().refused("standard input: ended before its first byte", "import", "none", "-", input="")


def test_a_reader_that_leaves_early_is_an_error_and_nothing_else(golden):
    script = 'set -o pipefail; "$0" "$@" | head -c 100 >/dev/null'
    done = run("bash", "-c", script, *golden.command("export", "golden", "-"), check=False)
    assert done.returncode == 1 and "write standard output: Broken pipe" in done.stderr
    assert golden.names() == ["golden"]


def test_a_terminal_is_refused_both_ways(golden):
    for command in ("export", "import"):
        line = " ".join(f"'{part}'" for part in golden.command(command, "golden2", "-"))
        done = run("script", "-qec", line.replace("golden2", "golden" if command == "export" else "new"),
                   "/dev/null", check=False)
        assert done.returncode == 1 and "is a terminal" in done.stdout, done.stdout


@pytest.fixture
def device(tmp_path):
    """A loop device of 32 MiB that is full of data."""
    needs("losetup")
    (tmp_path / "backing").write_bytes(noise(32 * MIB, seed=3))
    done = run("losetup", "--find", "--show", tmp_path / "backing", check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    yield done.stdout.strip()
    run("losetup", "--detach", done.stdout.strip())


def test_a_block_device_works_both_ways(golden, image, device, tmp_path):
    golden.run("import", "device", device)
    assert golden.disk("device")["size"] == 32 * MIB
    golden.run("export", "golden", device)
    run("sync", device)
    data = image.read_bytes()
    same_bytes(Path(device).read_bytes(), data + noise(32 * MIB, seed=3)[len(data):])


def test_a_device_that_is_too_small_is_refused_before_it_is_written(golden, device, tmp_path):
    golden.run("create", "large", "--size", "33M")
    golden.refused("use a larger device", "export", "large", device)
    same_bytes(Path(device).read_bytes(), noise(32 * MIB, seed=3))


def test_an_export_follows_a_link_and_keeps_the_file_s_mode(golden, image, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    golden.run("export", "golden", link)
    assert link.is_symlink() and target.stat().st_mode & 0o7777 == 0o640
    same_files(target, image)


def test_an_export_never_follows_a_planted_name(golden, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (folder / "out.partial").symlink_to(victim)
    os.mkfifo(folder / "out.tmp")
    golden.run("export", "golden", folder / "out")
    assert victim.read_bytes() == b"mine"
    assert sorted(os.listdir(folder)) == ["out", "out.partial", "out.tmp"]


def test_a_link_that_leads_nowhere_is_refused(golden, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    golden.refused("a link to a file that does not exist", "export", "golden", tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def test_exports_to_one_path_are_each_whole(server, tmp_path, together):
    """The last export wins. The file is never a mixture."""
    server = server()
    contents = [bytes([value]) * (24 * MIB) for value in (1, 2, 3)]
    for value, content in enumerate(contents):
        server.run("import", f"d{value}", "-", input=content, text=False)
    stop = threading.Event()
    seen = []

    def look():
        while not stop.is_set():
            if (tmp_path / "out").exists():
                seen.append((tmp_path / "out").read_bytes())
                assert seen[-1] in contents

    def export():
        for _ in range(5):
            together(*[lambda name=f"d{value}": server.run("export", name, tmp_path / "out")
                       for value in range(3)])
        stop.set()

    together(export, look)
    assert seen and sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("out", ".h"))) == ["out"]


def test_an_export_that_cannot_be_leaves_the_old_file(golden, mounted):
    """There is no space, or the directory is not writable."""
    small = mounted("tmpfs", "size=1M")
    (small / "out").write_bytes(b"old")
    golden.refused("No space left on device", "export", "golden", small / "out")
    assert (small / "out").read_bytes() == b"old" and os.listdir(small) == ["out"]
    golden.refused("make a temporary file in /proc", "export", "golden", "/proc/out")


def test_a_file_system_can_be_unmounted_once_its_export_is_there(golden, mounted):
    small = mounted("tmpfs", "size=512M")
    for number in range(20):
        golden.run("export", "golden", small / "out")
        golden.run("import", f"copy{number}", small / "out")
        golden.run("checkpoint", small / "saved")
        # Without -l, this fails if anybody has a file open there.
        run("umount", small)
        run("mount", "-t", "tmpfs", "-o", "size=512M", "hugemem-test", small)


def test_an_older_client_s_path_never_blocks_the_server(golden, tmp_path):
    """An older client sends only a path, which the server opens."""
    os.mkfifo(tmp_path / "fifo")
    for request in ({"importFile": {"name": "x", "path": str(tmp_path / "fifo")}},
                    {"exportFile": {"name": "golden", "path": str(tmp_path / "fifo")}}):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(f"{golden.directory}/control.sock")
            control.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(control.recv(1 << 16))
            assert "neither a file nor a block device" in answer["failure"]["message"]
