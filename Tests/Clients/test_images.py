"""Imports and exports. Holes and zeros take no memory. An export is sparse, equal, and of one
moment."""

import os
import struct
import threading

import pytest

from support.compare import noise, same_files
from support.tools import run

MIB = 1 << 20
SIZE = 1 << 30
DATA = 8 * MIB + 4096


@pytest.fixture
def image(tmp_path):
    """An image of 1 GiB: 8 MiB of data at 100 MiB, 8 MiB of zeros at 200 MiB, one byte at the
    end."""
    path = tmp_path / "image"
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for at, data in ((100 * MIB, noise(8 * MIB)), (200 * MIB, bytes(8 * MIB)), (SIZE - 1, b"x")):
            file.seek(at)
            file.write(data)
    return path


@pytest.fixture
def imported(server, image):
    server = server()
    server.run("import", "data", image)
    return server


def same_disk(server, name, image, tmp_path):
    run("nbdcopy", server.uri(name), tmp_path / "copied")
    same_files(tmp_path / "copied", image)


def test_an_import_is_equal_and_its_holes_and_zeros_take_no_memory(imported, image, tmp_path):
    assert imported.data("data") == DATA
    assert run("nbdinfo", "--size", imported.uri("data")).stdout == f"{SIZE}\n"
    same_disk(imported, "data", image, tmp_path)


def test_nothing_is_said_where_there_is_no_terminal(server, image, tmp_path):
    server = server()
    for command in (("import", "data", image), ("export", "data", tmp_path / "out")):
        done = server.run(*command)
        assert (done.stdout, done.stderr) == ("", "")


def test_an_import_shows_its_progress_on_a_terminal(server, image):
    server = server()
    command = " ".join(f"'{part}'" for part in server.command("import", "shown", image))
    said = run("script", "-qec", command, "/dev/null").stdout
    assert "import shown  100 %  1 GiB of 1 GiB" in said


def test_an_export_is_equal_and_sparse(imported, image, tmp_path):
    imported.run("export", "data", tmp_path / "out")
    same_files(tmp_path / "out", image)
    # An import makes zeros holes, so the export has fewer blocks than the image.
    assert os.stat(tmp_path / "out").st_blocks * 512 <= DATA + MIB


def test_an_export_leaves_nothing_else_behind(imported, tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    imported.run("export", "data", folder / "out")
    assert os.listdir(folder) == ["out"]


def test_an_export_replaces_a_file(imported, image, tmp_path):
    (tmp_path / "out").write_bytes(noise(3 * MIB))
    imported.run("export", "data", tmp_path / "out")
    same_files(tmp_path / "out", image)


@pytest.mark.parametrize("size", [1, 511, 513, 4097, 1000003])
def test_a_size_that_is_no_multiple_of_anything(server, tmp_path, size):
    """Odd bytes follow the last page, or are all there is."""
    server = server()
    (tmp_path / "odd").write_bytes(noise(size))
    server.run("import", "odd", tmp_path / "odd")
    assert run("nbdinfo", "--size", server.uri("odd")).stdout == f"{size}\n"
    server.run("export", "odd", tmp_path / "odd.out")
    same_files(tmp_path / "odd.out", tmp_path / "odd")


def test_a_size_of_no_whole_sectors_is_made_with_a_word(server):
    server = server()
    done = server.run("create", "odd", "--size", "513")
    assert "513 bytes are no whole number of 512-byte sectors" in done.stderr and "1024" in done.stderr
    assert run("nbdinfo", "--size", server.uri("odd")).stdout == "513\n"
    assert server.run("create", "even", "--size", "1024").stderr == ""


def test_relative_paths_are_those_of_who_asks_not_of_the_server(server, tmp_path):
    server = server()
    (tmp_path / "odd").write_bytes(noise(1000003))
    server.run("import", "relative", "./odd", cwd=tmp_path)
    server.run("export", "relative", f"../{tmp_path.name}/relative.out", cwd=tmp_path)
    same_files(tmp_path / "relative.out", tmp_path / "odd")


def test_an_export_of_a_disk_that_is_written_to_is_of_one_moment(server, tmp_path):
    """A client writes all pages in order, round after round, with the number of the round. So at
    any moment there is round r up to some page, and round r - 1 after it."""
    server = server(create="busy=64M")
    stop, failures, rounds = threading.Event(), [], [0]

    def write():
        try:
            wire = server.go("busy")
            while not stop.is_set():
                for page in range(2048):
                    wire.write(page * 4096, struct.pack(">Q", rounds[0] + 1) * 512)
                rounds[0] += 1
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        for _ in range(5):
            server.run("export", "busy", tmp_path / "busy")
            data = (tmp_path / "busy").read_bytes()[: 2048 * 4096]
            seen = [struct.unpack_from(">Q", data, at)[0] for at in range(0, len(data), 4096)]
            assert seen == sorted(seen, reverse=True)
            assert seen[0] - seen[-1] in (0, 1)
    finally:
        stop.set()
        thread.join()
    assert not failures, failures
    assert rounds[0] > 0, "nothing was written meanwhile"


def test_serve_imports_at_its_start(server, image, tmp_path):
    server = server("--import", f"data={image}")
    assert server.data("data") == DATA
    same_disk(server, "data", image, tmp_path)
    assert "%" not in server.log.read_text(), "no progress where there is no terminal"
