"""The example with PostgreSQL: forks of a golden cluster, each of which starts and runs SQL."""

import json
import os
from pathlib import Path

import pytest

from support.server import BINARY
from support.tools import needs, run
from test_filesystem import loops  # noqa: F401

EXAMPLE = Path(__file__).parents[2] / "Examples/postgres/fork-per-test"


@pytest.mark.deadline(280)
def test_each_fork_is_a_cluster(loops, figure):  # noqa: F811
    needs("runuser")
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("no PostgreSQL; scripts/deps installs it")
    done = run(EXAMPLE, "--forks", 5, "--megabytes", 10, "--json", timeout=270, env={**os.environ, "HUGEMEM": BINARY})
    found = json.loads(done.stdout)
    assert {name: len(times) for name, times in found["times"].items()} == {"fork": 5, "template": 5, "initdb": 1}
    figure(", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in found["seconds"].items()))
