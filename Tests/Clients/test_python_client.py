"""The Python client as a wheel in an environment of its own."""

import os
import subprocess
from pathlib import Path

import pytest

from support.server import BINARY
from support.tools import run

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/python"
# The environment may have to be made first.
pytestmark = pytest.mark.deadline(400)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python that has the wheel."""
    env = subprocess.run([ROOT / "scripts/python-env"], capture_output=True, text=True)
    if env.returncode != 0:
        pytest.skip(f"no environment for Python: {env.stderr.strip().splitlines()[-1]}")
    work = tmp_path_factory.mktemp("client")
    # Built elsewhere, so that the checkout stays as it is.
    run("cp", "-r", CLIENT, work / "source")
    python = env.stdout.strip()
    run(python, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w", work, work / "source")
    (wheel,) = work.glob("hugemem-*.whl")
    run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--force-reinstall", wheel)
    return python


def test_its_own_tests(python, server, tmp_path):
    made = server()
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hugemem-directory", made.directory, CLIENT / "tests", cwd=tmp_path, check=False)
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout
    assert made.names() == []


def test_a_server_is_started_for_the_session(python, tmp_path):
    """Without a server of the user's own. The fixture finds the program by HUGEMEM."""
    (tmp_path / "test_it.py").write_text(
        "def test_it(hugemem_server, hugemem_disk):\n"
        "    hugemem_server.create('golden', '1M')\n"
        "    assert hugemem_disk('golden').origin == 'golden'\n")
    env = {**os.environ, "HUGEMEM": BINARY, "XDG_RUNTIME_DIR": str(tmp_path)}
    env.pop("HUGEMEM_DIRECTORY", None)
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path, env=env, check=False)
    assert "1 passed" in done.stdout, done.stdout
    env["HUGEMEM"] = "/nosuch"
    done = run(python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path, env=env, check=False)
    assert "1 skipped" in done.stdout and "no hugemem server answers" in done.stdout, done.stdout


def test_its_types(python):
    done = run(python, "-m", "mypy", "--strict", "--cache-dir=/dev/null", "-p", "hugemem", check=False)
    assert done.returncode == 0, done.stdout
