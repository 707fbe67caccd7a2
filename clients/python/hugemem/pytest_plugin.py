"""Fixtures for pytest: a disk for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import Any, Callable, Iterator

import pytest

from . import Disk, Server, Unreachable


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hugemem-directory", help="the directory of the hugemem server for the fixture hugemem_disk")


@pytest.fixture(scope="session")
def hugemem_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server that is named, the user's own, or one for this session."""
    named = request.config.getoption("--hugemem-directory") or os.environ.get("HUGEMEM_DIRECTORY")
    with Server(named) as server:
        try:
            server.memory()
            yield server
            return
        except Unreachable as error:
            if named:
                pytest.fail(str(error))
    program = shutil.which(os.environ.get("HUGEMEM", "hugemem"))
    if not program:
        pytest.skip("no hugemem server answers, and no program `hugemem` is on the PATH to start one")
    with tempfile.TemporaryDirectory(prefix="hugemem-") as folder:
        process = subprocess.Popen(
            [program, "serve", "--directory", f"{folder}/server"], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            if "ready" not in process.stdout.readline():
                pytest.fail(f"{program} serve did not start: status {process.wait()}")
            with Server(f"{folder}/server") as server:
                yield server
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def hugemem_disk(hugemem_server: Server) -> Iterator[Callable[..., Disk]]:
    """hugemem_disk(SOURCE): a fork of a disk, which is removed after the test."""
    made: list[Disk] = []

    def fork(source: str, **options: Any) -> Disk:
        made.append(hugemem_server.fork(source, **options))
        return made[-1]

    yield fork
    for disk in reversed(made):
        with disk:
            pass
