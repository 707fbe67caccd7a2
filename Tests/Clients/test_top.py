"""`hugemem top`: plain frames in a pipe; keys, sizes and signals on a terminal. However the program
ends, the terminal is as it was."""

import os
import re
import signal
import threading

import pytest

from support.server import BINARY
from support.terminal import Screen
from support.tools import refused
from support.wire import EINVAL, ENOSPC, READ, TRIM, WRITE, WRITE_ZEROES

MIB = 1 << 20


@pytest.fixture
def disks(server):
    return server(memory="256M", create=("data=1G", "other=1G"))


def test_frames_in_a_pipe_have_no_escapes(disks):
    disks.io("data", "write -P 3 0 8M")
    # A pipe on standard output, and nothing on standard input.
    said = disks.run("top", "--frames", "2", "--interval", "0.2").stdout
    assert len(re.findall("^hugemem ", said, re.MULTILINE)) == 2, said
    assert "\x1b" not in said
    assert len(re.findall("^data .* 8 MiB", said, re.MULTILINE)) == 2, said
    assert re.search("^memory .*#.* of 256 MiB", said, re.MULTILINE), said


def test_the_first_frame_has_no_rates(disks):
    """Rates need two states of the server."""
    said = disks.run("top", "--frames", "2", "--interval", "0.2").stdout
    assert len(re.findall("pgfault -", said)) == 1, said
    assert re.search(r"pgfault \d", said), said


def test_what_requests_carry_is_counted_once_they_are_done(disks):
    """Zeroes, trims and refused requests do not count."""
    wire = disks.go("data")
    wire.write(0, b"\1" * (3 * MIB))
    wire.write(4096, b"\2" * 512)
    assert wire.error(WRITE, 1 << 29, 32 * MIB, 0, bytes(32 * MIB)) == 0
    assert wire.error(WRITE, 1 << 30, 512, 0, bytes(512)) == ENOSPC
    assert wire.error(TRIM, 0, MIB) == 0
    assert wire.error(WRITE_ZEROES, 0, MIB) == 0
    wire.read(0, 5 * MIB)  # holes count, since the client has read them
    wire.read(0, 7)
    assert wire.error(READ, 1 << 30, 512) == EINVAL
    disk = disks.disk("data")
    assert disk["bytesWritten"] == 35 * MIB + 512
    assert disk["bytesRead"] == 5 * MIB + 7


def test_rates_of_a_disk(disks, figure):
    """One connection writes while `top` shows three frames, a second apart."""
    wire, stop, failures = disks.go("data"), threading.Event(), []

    def write():
        try:
            while not stop.is_set():
                wire.write(0, bytes(4 * MIB))
                wire.write(4 * MIB, b"\1" * (4 * MIB))
                stop.wait(0.1)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    said = disks.run("top", "--frames", "3").stdout
    stop.set()
    thread.join()
    assert not failures, failures
    (row,) = [line for line in said.split("\n\nhugemem")[-1].split("\n") if line.startswith("data ")]
    written = re.findall(r"[\d.]+ [KMG]?i?B", row)[-1]
    figure(f"written by one connection as top sees it: {written} a second")
    assert written.endswith("MiB"), row


def test_keys(disks):
    screen = Screen(disks, "--interval", "0.2")
    screen.wait_for(b"\x1b[?1049h\x1b[?25l")
    lines = screen.frame()
    assert lines[0].startswith("hugemem   2 disks")
    screen.key(b"o")
    screen.key(b"x")  # a key without a meaning
    screen.frame()
    screen.key(b"q")
    assert screen.ended(0) == ""


@pytest.mark.parametrize("columns, rows", [(100, 12), (40, 30), (1, 1), (300, 80), (100, 9)])
def test_frames_fit_the_window_whatever_its_size(disks, columns, rows):
    disks.run("fork", "data", *(f"fork{number}" for number in range(50)))
    screen = Screen(disks, "--interval", "0.2", "--sort", "own", columns=100, rows=12)
    screen.frame()
    screen.resize(columns, rows)
    screen.fits(columns, rows)
    screen.key(b"q")
    screen.ended(0)


def test_rows_that_do_not_fit_are_told_of_and_shown_where_they_fit(disks):
    disks.run("fork", "data", *(f"fork{number}" for number in range(50)))
    screen = Screen(disks, "--interval", "0.2", "--sort", "own", columns=100, rows=9)
    lines = screen.fits(100, 9)
    assert "more; sorted by own" in lines[-1], lines
    screen.resize(100, 80)
    lines = screen.fits(100, 80, lambda lines: sum(line.startswith("fork") for line in lines) == 50)
    screen.key(b"q")
    screen.ended(0)


def test_ctrl_c_restores_the_terminal(disks):
    screen = Screen(disks)
    screen.frame()
    screen.key(b"\x03")  # Ctrl-C on the terminal
    assert screen.ended(0) == ""


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)],
                         ids=["SIGTERM", "SIGHUP"])
def test_a_signal_restores_the_terminal(disks, number, status):
    screen = Screen(disks)
    screen.frame()
    screen.process.send_signal(number)
    screen.ended(status)


def test_a_server_that_hangs_does_not_hold_it_up(disks):
    screen = Screen(disks, "--interval", "0.1")
    screen.frame()
    os.kill(disks.process.pid, signal.SIGSTOP)
    try:
        screen.quiet(0.5)  # it waits for the server
        screen.key(b"\x03")
        screen.ended(0)
    finally:
        os.kill(disks.process.pid, signal.SIGCONT)


def test_it_ends_by_itself_after_so_many_frames(disks):
    assert Screen(disks, "--interval", "0.1", "--frames", "3").ended(0) == ""


@pytest.mark.parametrize("option", ["--interval=0", "--interval=nan", "--frames=-1", "--sort=size"])
def test_an_option_that_cannot_be_is_refused(disks, option):
    disks.refused(option.split("=")[0], "top", option)


def test_without_a_server_it_says_so(tmp_path):
    directory = tmp_path / "nobody"
    refused(f"no server answers in {re.escape(str(directory))}", BINARY, "top", "--directory", directory)


def test_the_server_dies_while_it_is_watched(disks):
    screen = Screen(disks, "--interval", "0.1")
    screen.frame()
    disks.kill()
    said = screen.ended(1)
    assert "no server answers" in said or "closed the control socket" in said
