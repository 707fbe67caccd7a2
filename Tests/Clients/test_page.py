"""The status page in a real browser."""

import re
from contextlib import closing

import pytest

from support.http import API
from support.tools import needs, run


pytestmark = pytest.mark.deadline(300)


def browse(url, *options):
    """Opens a page without a window, and returns what it shows after some seconds."""
    needs("chromium")
    return run("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               "--virtual-time-budget=6000", "--timeout=20000", *options, url, timeout=110).stdout


@pytest.fixture
def page(server):
    made = server("--http", "127.0.0.1:0", create=("golden=1G", "alone=64M"))
    with closing(made.go("golden")) as wire:
        for index in range(0, 64):
            wire.write(index << 20, b"x" * (1 << 20))
    api = API(made)
    api.good("PATCH", "/v1/disks/alone", {"description": "<img src=x onerror=document.title='broken'>"})
    api.good("PUT", "/v1/disks/golden/forks/job")
    api.good("PUT", "/v1/disks/job/forks/job-of-job")
    made.page = re.search(r"status page: (\S+)", made.said())[1]
    return made


def test_it_shows_disks_memory_and_the_zero_page(page, tmp_path):
    text = browse(page.page, "--dump-dom")
    rows = re.findall(r"<tr[^>]*><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", text)
    assert [(name.replace("&nbsp;", " "), size, data) for name, size, data in rows] == [
        ("alone", "64.0 MiB", "0 B"), ("golden", "1.0 GiB", "64.0 MiB"),
        ("  └ job", "1.0 GiB", "64.0 MiB"), ("    └ job-of-job", "1.0 GiB", "64.0 MiB")]
    assert "<title>hugemem</title>" in text
    assert re.search(r"<small>memory used</small><b[^>]*>64\.\d MiB", text)
    assert "<polygon" in text and "<small>pressure</small><b>normal" in text.replace(' class=""', "")
    assert 'id="state" role="status"></span>' in text  # No fault.


def test_disks_whose_origins_are_a_loop_of_names(server):
    made = server("--http", "127.0.0.1:0", create="a=1M")
    api = API(made)
    api.good("PUT", "/v1/disks/a/forks/b")
    api.good("DELETE", "/v1/disks/a")
    api.good("PUT", "/v1/disks/b/forks/a")
    text = browse(re.search(r"status page: (\S+)", made.said())[1], "--dump-dom")
    assert len(re.findall("<tr[^>]*><td>", text)) == 2


def test_it_asks_for_a_token(server, tmp_path):
    token = tmp_path / "token"
    token.write_text("the-token-of-this-test\n")
    made = server("--http", "127.0.0.1:0", "--http-token", token, create="secret=64M")
    url = re.search(r"status page: (\S+)", made.said())[1]
    text = browse(url, "--dump-dom")
    assert "this server wants a token" in text and "secret" not in text
    assert "<td>secret</td>" in browse(url + "#token=the-token-of-this-test", "--dump-dom")


def test_a_screenshot(page, tmp_path):
    picture = tmp_path / "page.png"
    browse(page.page, f"--screenshot={picture}", "--window-size=1100,900")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 20_000
