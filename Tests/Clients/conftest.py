"""Fixtures: a server in a directory of its own, a control group, and parameters for tests.

Run all tests with `/usr/bin/python3 -m pytest Tests/Clients`, or one with `-k NAME`. HUGEMEM names
the binary. Each test starts its own servers, so you can run any test alone, and in any order.
"""

import os
import re
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
pytest.register_assert_rewrite("support")
# The tests compare and match English text.
os.environ["LC_ALL"] = "C"
os.environ["PATH"] += ":/usr/sbin:/sbin"

from support.group import Group  # noqa: E402
from support.server import BINARY, Server  # noqa: E402
from support.survivor import Survivor  # noqa: E402
from support.tools import run  # noqa: E402

DEADLINE = 120


def pytest_configure(config):
    config.figures = []
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"{BINARY} is no program; `make build` makes it, HUGEMEM names another")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Fails a test that hangs, and shows the line at which it hangs."""
    marker = item.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE

    def late(*_):
        raise TimeoutError(f"the test did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def figure(request):
    """figure(TEXT): shows a line for people at the end. No test asserts anything about it."""
    return lambda text: request.config.figures.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter, config):
    if config.figures:
        terminalreporter.section("figures")
        for line in config.figures:
            terminalreporter.line(line)


@pytest.fixture
def tmp_path():
    """A directory with a short path, since socket paths must be short. It is removed after the
    test, since images are large."""
    with tempfile.TemporaryDirectory(prefix="hugemem.") as path:
        yield Path(path)


@pytest.fixture
def server(tmp_path):
    """server(OPTION...): starts a server and waits until it is ready. `memory=` and `create=` are
    short for its options.

    At the end of the test, SIGTERM ends each server. It must end cleanly: with status 0, without
    its sockets, and without a crash in its log. Servers that the test has ended itself are not
    checked.
    """
    servers = []

    def start(*options, memory=None, create=(), **more):
        options = [str(option) for option in options]
        if memory:
            options += ["--memory", memory]
        for disk in [create] if isinstance(create, str) else create:
            options += ["--create", disk]
        servers.append(Server(tmp_path / f"run{len(servers)}", *options, **more))
        return servers[-1]

    yield start
    failures = []
    for one in servers:
        # pytest shows this if the test fails.
        print(f"the server's log:\n{one.log.read_text(errors='replace')[-2000:]}")
        try:
            if not one.was_ended:
                one.stops_cleanly()
        except Exception as failure:
            failures.append(failure)
        finally:
            one.kill()
    if failures:
        raise failures[0]


@pytest.fixture
def survivor(tmp_path):
    """survivor(OPTION...): starts a server whose disks outlive it. `memory=` is short for the option,
    `create=` too, and `file=` for --memory-file.

    At the end of the test, SIGTERM ends each one that runs, and its memory is dropped.
    """
    survivors = []

    def start(*options, create=(), **more):
        options = [str(option) for option in options]
        for disk in [create] if isinstance(create, str) else create:
            options += ["--create", disk]
        survivors.append(Survivor(tmp_path / f"kept{len(survivors)}", *options, **more))
        return survivors[-1]

    yield start
    failures = []
    for one in survivors:
        log = one.directory.with_suffix(".err")
        print(f"the last server's log:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            one.end()
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def shared_memory():
    """A directory on a tmpfs, for memory files. Skips the test if /dev/shm is none."""
    if not re.search(r"^\S+ /dev/shm tmpfs ", Path("/proc/mounts").read_text(), re.MULTILINE):
        pytest.skip("/dev/shm is no tmpfs")
    with tempfile.TemporaryDirectory(prefix="hugemem.", dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture
def mounted(tmp_path):
    """mounted(KIND, OPTIONS): mounts a tmpfs or a hugetlbfs, and returns where. Skips the test if this is not
    allowed. At the end of the test nobody may have a file open there."""
    places = []

    def mount(kind, options):
        path = tmp_path / f"{kind}{len(places)}"
        path.mkdir()
        done = run("mount", "-t", kind, "-o", options, "hugemem-test", path, check=False)
        if done.returncode:
            pytest.skip(f"no {kind} can be mounted: {done.stderr.strip()}")
        places.append(path)
        return path

    yield mount
    busy = [path for path in places if run("umount", path, check=False).returncode]
    for path in busy:
        run("umount", "-l", path)
    assert not busy, "somebody has a file open there"


@pytest.fixture
def group():
    """group(BYTES): makes a memory control group, which is removed after the test. Skips the test
    if this machine has none.

    Name this fixture before `server`, so that the server is gone when the group is removed.
    """
    groups = []

    def make(limit):
        groups.append(Group(limit))
        return groups[-1]

    yield make
    for one in groups:
        one.remove()


@pytest.fixture(params=[True, False], ids=["structured", "simple"])
def structured(request):
    """Repeats the test with structured replies and with simple ones."""
    return request.param


@pytest.fixture(params=["unix", "tcp"])
def transport(request):
    """Repeats the test over a Unix socket and over TCP."""
    return request.param


@pytest.fixture
def together():
    """together(FUNCTION...): runs each function in its own thread, and fails with the first
    failure."""

    def run(*functions):
        failures = []

        def guarded(function):
            try:
                function()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    return run
