"""openapi.json says what the API does: no more, no less."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.http import API
from support.tools import run

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "Sources/HTTPAPI/Resources/openapi.json"
METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture
def description():
    return json.loads(DESCRIPTION.read_text())


def test_it_names_every_route(description):
    described = {(method.upper(), path) for path, item in description["paths"].items() for method in item if method in METHODS}
    built = set(re.findall(r'Route\(\.(\w+), "([^"]+)"', (ROOT / "Sources/HTTPAPI/Routes.swift").read_text()))
    assert described == built


def test_it_names_every_code(description):
    source = (ROOT / "Sources/HTTPAPI/Problem.swift").read_text()
    cases = re.findall(r"case (\w+(?:, \w+)*)(?: = \"([\w-]+)\")?\n", source.split("enum Code")[1].split("}")[0])
    codes = {name for names, text in cases for name in ([text] if text else names.split(", "))}
    assert set(description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == codes


def test_the_server_shows_it(server, description):
    assert API(server(create="a=1M")).good("GET", "/v1/openapi.json") == description


def test_every_path_allows_the_methods_described(server, description):
    api = API(server(create="a=1M"))
    for path, item in description["paths"].items():
        status, _, headers = api.whole("TRACE", re.sub(r"\{\w+\}", "a", path))
        assert status == 405
        assert set(headers["allow"].lower().split(", ")) == METHODS & set(item), path


@pytest.mark.deadline(400)
def test_schemathesis_finds_no_difference(server, tmp_path):
    python = subprocess.run([ROOT / "scripts/python-env"], capture_output=True, text=True)
    if python.returncode != 0:
        pytest.skip(f"schemathesis cannot be installed: {python.stderr.strip().splitlines()[-1]}")
    token = tmp_path / "token"
    token.write_text("only-for-this-test\n")
    made = server("--http", "127.0.0.1:0", "--http-token", token, create="golden=64M")
    page = re.search(r"status page: (\S+)/\n", made.said())[1]
    # Over TCP, so that no request can name a file. The events do not end.
    done = run(
        Path(python.stdout.strip()).parent / "schemathesis",
        "--config-file", Path(__file__).parent / "support/schemathesis.toml",
        "run", DESCRIPTION, "--url", page, "-H", "Authorization: Bearer only-for-this-test",
        "--exclude-path", "/v1/events", "--max-examples", 30, "--phases", "examples,coverage,fuzzing,stateful",
        "--no-color", "--seed", os.environ.get("SEED", "1"), check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"[1-9]\d+ generated, \d+ passed", done.stdout), done.stdout[-2000:]
