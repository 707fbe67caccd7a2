"""The HTTP API on the control socket: what each path does, and what it refuses."""

import json
import os
import re
import socket
import threading
from contextlib import closing

import pytest

from support.compare import eventually
from support.http import API, Events, UnixHTTPConnection
from support.tools import run


@pytest.fixture
def api(server):
    """A server with the empty disk "golden" of 64 MiB, and its API."""
    made = server(create="golden=64M")
    api = API(made)
    api.server = made
    return api


def test_a_disk_from_birth_to_end(api):
    disk = api.good("POST", "/v1/disks", {"name": "a", "size": "1 GiB", "quota": "1M", "description": "mine"})
    assert (disk["size"], disk["quota"], disk["readOnly"], disk["description"]) == (1 << 30, 1 << 20, False, "mine")
    assert run("nbdinfo", "--size", disk["uri"]).stdout.strip() == str(1 << 30)
    assert api.good("PATCH", "/v1/disks/a", {"readOnly": True})["readOnly"]
    assert api.good("PATCH", "/v1/disks/a/limit", {"quota": None}).get("quota") is None
    assert api.good("PATCH", "/v1/disks/a/limit", {"reserve": "2M"})["reserve"] == 2 << 20
    assert api.good("POST", "/v1/disks/a/resize", {"size": 1 << 29, "shrink": True})["size"] == 1 << 29
    assert api.good("POST", "/v1/disks/a/rename", {"name": "b"})["name"] == "b"
    assert api("GET", "/v1/disks/a")[0] == 404
    assert api("DELETE", "/v1/disks/b") == (204, "")
    assert [disk["name"] for disk in api.good("GET", "/v1/disks")["disks"]] == ["golden"]


def test_forks_share_reset_and_remove(api):
    with closing(api.server.go("golden")) as wire:
        wire.write(0, b"x" * 4096)
    forks = api.good("POST", "/v1/disks/golden/forks", {"names": ["j1", "j2"]})["disks"]
    assert [(fork["name"], fork["origin"], fork["data"], fork["own"]) for fork in forks] == [
        ("j1", "golden", 4096, 0), ("j2", "golden", 4096, 0)]
    with closing(api.server.go("j1")) as wire:
        wire.write(0, b"y" * 4096)
        assert api.good("POST", "/v1/disks/j1/reset")["data"] == 4096
        assert wire.read(0, 4096) == b"x" * 4096
    assert [disk["name"] for disk in api.good("GET", "/v1/disks?origin=golden")["disks"]] == ["j1", "j2"]
    eventually(lambda: api("POST", "/v1/remove", {"names": ["j1", "j2"]})[0] == 204, "the clients are gone")
    api.refused(409, "not-a-fork", "POST", "/v1/disks/golden/reset")


def test_put_can_be_repeated(api):
    for expected in (201, 200, 200):
        status, fork = api("PUT", "/v1/disks/golden/forks/job")
        assert (status, fork["origin"]) == (expected, "golden")
    for expected in (201, 200):
        assert api("PUT", "/v1/disks/new", {"size": "1M"})[0] == expected
    api.refused(409, "disk-exists", "PUT", "/v1/disks/new", {"size": "2M"})
    api.refused(409, "disk-exists", "PUT", "/v1/disks/job", {"size": "64M"})
    api.refused(409, "other-origin", "PUT", "/v1/disks/new/forks/job")
    api.refused(409, "disk-exists", "POST", "/v1/disks", {"name": "new", "size": "1M"})


def test_a_long_list_comes_in_pieces(api):
    api.good("POST", "/v1/disks/golden/forks", {"names": [f"f{index:03}" for index in range(700)]})
    names, after = [], ""
    while after is not None:
        piece = api.good("GET", f"/v1/disks?limit=300&after={after}")
        names += [disk["name"] for disk in piece["disks"]]
        assert len(piece["disks"]) <= 300
        after = piece.get("next")
    assert names == [f"f{index:03}" for index in range(700)] + ["golden"]
    api.refused(400, "invalid", "GET", "/v1/disks?limit=0")
    api.refused(400, "unknown-field", "GET", "/v1/disks?page=2")


@pytest.mark.parametrize("status, code, method, path, body, says", [
    (404, "no-such-path", "GET", "/v2", None, "openapi"),
    (404, "no-such-path", "GET", "/v1/disks/a/b/c/d", None, "openapi"),
    (405, "method-not-allowed", "DELETE", "/v1/memory", None, "GET, PATCH"),
    (404, "no-such-disk", "GET", "/v1/disks/nosuch", None, "nosuch"),
    (404, "no-such-disk", "POST", "/v1/disks/nosuch/forks", {"names": ["x"]}, "nosuch"),
    (400, "unknown-field", "POST", "/v1/disks", {"name": "a", "size": 1, "colour": 1}, "colour"),
    (400, "invalid", "POST", "/v1/disks", {"size": 1}, '"name" is missing'),
    (400, "invalid", "POST", "/v1/disks", {"name": "a"}, '"size" is missing'),
    (400, "invalid", "POST", "/v1/disks", {"name": "a", "size": -1}, "size"),
    (400, "invalid", "POST", "/v1/disks", {"name": "a", "size": True}, "size"),
    (422, "invalid-size", "POST", "/v1/disks", {"name": "a", "size": "10 elephants"}, "elephants"),
    (422, "invalid-size", "POST", "/v1/disks", {"name": "a", "size": 0}, ""),
    (422, "invalid-size", "POST", "/v1/disks", {"name": "a", "size": 1 << 63}, ""),
    (400, "invalid-name", "POST", "/v1/disks", {"name": "../a", "size": 1}, "begins with a dot"),
    (400, "invalid-name", "PUT", "/v1/disks/a%2Fb", {"size": 1}, 'contains "/"'),
    (400, "invalid", "POST", "/v1/disks", "[1]", ""),
    (400, "invalid", "POST", "/v1/disks", "{", ""),
    (400, "invalid", "POST", "/v1/disks/golden/forks", {"names": []}, "at least one"),
    (400, "invalid", "POST", "/v1/disks/new/import", {"path": "/dev/null", "onto": "golden"}, "originSize"),
    (422, "invalid", "POST", "/v1/disks/golden/export", {"path": "/dev/null", "changes": True}, "text/event-stream"),
    (404, "no-such-disk", "POST", "/v1/held/.import-7/publish", {"name": "x"}, "not held by this connection"),
    (404, "no-such-disk", "POST", "/v1/disks/nosuch/view", None, "nosuch"),
    (422, "invalid", "POST", "/v1/ranges", {"ranges": [{"start": 0}]}, "length"),
    (409, "disk-exists", "POST", "/v1/disks/golden/forks", {"names": ["a", "a"]}, ""),
    (422, "invalid-size", "PATCH", "/v1/memory", {"limit": 4096}, "too low"),
    (404, "no-such-knob", "PATCH", "/v1/knobs", {"colour": "1"}, "use_zero_page"),
    (422, "invalid", "PATCH", "/v1/knobs", {"use_zero_page": "2"}, "0 1"),
    (400, "invalid", "POST", "/v1/disks/new/import", {"path": "relative"}, "absolute"),
    (404, "no-such-disk", "POST", "/v1/disks/nosuch/export", {"path": "/tmp/x"}, "nosuch"),
    (404, "no-such-job", "GET", "/v1/jobs/7", None, ""),
    (400, "invalid", "GET", "/v1/events?after=x", None, "number"),
    (507, "out-of-memory", "POST", "/v1/disks", {"name": "a", "size": "1T", "reserve": "900G"}, "cannot be kept"),
])
def test_what_is_refused(api, status, code, method, path, body, says):
    assert says in api.refused(status, code, method, path, body)
    # Nothing has changed, and the connection goes on.
    assert [disk["name"] for disk in api.good("GET", "/v1/disks")["disks"]] == ["golden"]


def test_memory_and_knobs(api):
    memory = api.good("GET", "/v1/memory")
    assert sum(memory["kinds"].values()) == memory["used"] and memory["pressure"] == {"level": "normal"}
    assert api.good("PATCH", "/v1/memory", {"limit": "64M"})["limit"] == 64 << 20
    assert api.good("POST", "/v1/memory/shrink")["freed"] >= 0
    assert api.good("PATCH", "/v1/knobs", {"use_zero_page": "0"})["use_zero_page"] == "0"
    assert api.server.json("tune")  # The command line sees the same.
    assert "use_zero_page                     0" in api.server.run("tune").stdout


def test_import_and_export_are_jobs(api, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(8 << 20))
    status, job, headers = api.whole("POST", "/v1/disks/copy/import", {"path": str(image), "readOnly": True})
    assert (status, job["kind"], job["disk"]) == (202, "import", "copy")
    path = headers["location"]
    job = api.good("GET", path + "?wait=30")
    assert (job["state"], job["done"], job["total"]) == ("done", 8 << 20, 8 << 20)
    assert api.good("GET", "/v1/disks/copy")["readOnly"]
    out = tmp_path / "out"
    job = api.good("POST", "/v1/disks/copy/export", {"path": str(out)})
    assert api.good("GET", f"/v1/jobs/{job['id']}?wait=30")["state"] == "done"
    assert out.read_bytes() == image.read_bytes()
    api.refused(409, "disk-exists", "POST", "/v1/disks/copy/import", {"path": str(image)})
    job = api.good("POST", "/v1/disks/other/import", {"path": str(tmp_path / "nosuch")})
    job = api.good("GET", f"/v1/jobs/{job['id']}?wait=30")
    assert (job["state"], job["code"]) == ("failed", "failed") and "nosuch" in job["detail"]
    assert [job["state"] for job in api.good("GET", "/v1/jobs")["jobs"]] == ["done", "done", "failed"]


def test_a_job_can_be_cancelled(api, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Nobody writes to the pipe, so the import would wait for ever. It comes as an open file.
    reader = os.open(pipe, os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        socket.send_fds(raw, [b"POST /v1/disks/a/import HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"], [reader])
        assert b" 202 " in raw.recv(4096)
    os.close(reader)
    assert api.good("GET", "/v1/jobs/1")["state"] == "running"
    api.good("DELETE", "/v1/jobs/1")
    job = api.good("GET", "/v1/jobs/1?wait=30")
    assert job["state"] == "cancelled" and "cancelled" in job["detail"]
    api.refused(404, "no-such-disk", "GET", "/v1/disks/a")


def attached(api, path, body=None, file=None):
    """Long work whose progress is in the answer: a list of its events."""
    body = json.dumps(body or {})
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        socket.send_fds(raw, [(head + body).encode()], [] if file is None else [file.fileno()])
        answer = b""
        while data := raw.recv(1 << 16):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return [(kind.decode(), json.loads(data)) for kind, data in re.findall(rb"event: (\w+)\ndata: (.*)\n", answer)]


def test_work_with_its_progress_in_the_answer(api, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(8 << 20))
    events = attached(api, "/v1/disks/a/import", {"path": str(image), "description": "mine"})
    assert {kind for kind, _ in events[:-1]} == {"progress"} and events[-2][1] == {"done": 8 << 20, "total": 8 << 20}
    assert (events[-1][0], events[-1][1]["description"]) == ("done", "mine")
    with open(tmp_path / "out", "wb") as out:
        assert attached(api, "/v1/disks/a/export", file=out)[-1][0] == "done"
    assert (tmp_path / "out").read_bytes() == image.read_bytes()
    kind, problem = attached(api, "/v1/disks/b/import", {"path": "/nosuch"})[-1]
    assert (kind, problem["code"]) == ("failed", "failed") and "/nosuch" in problem["detail"]


def test_changes_out_and_in_again(api, tmp_path):
    api.good("PUT", "/v1/disks/golden/forks/job")
    with closing(api.server.go("job")) as wire:
        wire.write(1 << 20, b"x" * 8192)
    events = attached(api, "/v1/disks/job/export", {"path": str(tmp_path / "delta"), "changes": True})
    ranges = [one for kind, data in events if kind == "changes" for one in data["ranges"]]
    assert ranges == [{"start": 1 << 20, "length": 8192, "data": True}]
    # The ranges belong to the connection of the import.
    body = {"path": str(tmp_path / "delta"), "onto": "golden", "size": 64 << 20, "originSize": 64 << 20}
    connection = UnixHTTPConnection(api.path)
    connection.request("POST", "/v1/ranges", json.dumps({"ranges": ranges}))
    assert connection.getresponse().read() == b""
    connection.request("POST", "/v1/disks/again/import", json.dumps(body), {"Accept": "text/event-stream"})
    assert b"event: done" in connection.getresponse().read()
    assert api.good("GET", "/v1/disks/again")["origin"] == "golden"
    with closing(api.server.go("again")) as wire:
        assert wire.read(1 << 20, 8193) == b"x" * 8192 + b"\0"


def test_what_lasts_as_long_as_its_connection(api):
    holder = API(api.server)
    view = holder.good("POST", "/v1/disks/golden/view")
    empty = holder.good("POST", "/v1/held", {"size": "1M"})
    for made, size in ((view, 64 << 20), (empty, 1 << 20)):
        assert run("nbdinfo", "--size", made["uri"]).stdout.strip() == str(size)
    assert [disk["name"] for disk in api.good("GET", "/v1/disks")["disks"]] == [view["export"], empty["export"], "golden"]
    # Another connection cannot publish it.
    api.refused(404, "no-such-disk", "POST", f"/v1/held/{empty['export']}/publish", {"name": "mine"})
    assert holder.good("POST", f"/v1/held/{empty['export']}/publish", {"name": "mine", "readOnly": True})["readOnly"]
    holder.connection.close()
    eventually(lambda: run("nbdinfo", "--size", view["uri"], check=False).returncode != 0, "the view is gone")
    assert api.good("GET", "/v1/disks/mine")["size"] == 1 << 20


def test_events_tell_what_happens(api):
    events = Events(api)
    api.good("POST", "/v1/disks", {"name": "a", "size": "1M"})
    api.good("PUT", "/v1/disks/a/forks/b")
    api.good("POST", "/v1/disks/b/rename", {"name": "c"})
    api.good("POST", "/v1/disks/c/reset")
    api.good("DELETE", "/v1/disks/c")
    found = [events.next() for _ in range(5)]
    assert [kind for kind, _, _ in found] == [
        "disk.created", "disk.forked", "disk.renamed", "disk.reset", "disk.removed"]
    assert found[1][2]["origin"] == "a" and found[2][2]["formerName"] == "b" and found[4][2]["disk"] == "c"
    assert [number for _, number, _ in found] == list(range(found[0][1], found[0][1] + 5))
    events.close()
    # A client that connects again misses nothing.
    assert Events(api, after=found[2][1]).next()[0] == "disk.reset"
    # The birth of a fork that a client made by connecting is an event too, and so is its end.
    events = Events(api)
    with closing(api.server.go("a@")) as wire:
        wire.read(0, 512)
    assert [events.next()[0] for _ in range(2)] == ["disk.forked", "disk.removed"]


def test_events_that_are_no_longer_known(api):
    for part in range(5):
        api.good("POST", "/v1/disks/golden/forks", {"names": [f"f{part}-{index}" for index in range(1000)]})
    events = Events(api, after=0)
    kind, _, data = events.next()
    assert (kind, data) == ("missed", {"count": 5001 - 4096})
    assert events.next()[1] == 5001 - 4096 + 1


def test_many_listeners_and_a_stop(api):
    streams = [Events(api) for _ in range(50)]
    api.good("PUT", "/v1/disks/golden/forks/x")
    assert {stream.next()[0] for stream in streams} == {"disk.forked"}
    assert api.server.stop() == 0


@pytest.mark.parametrize("request_, status", [
    (b"GET / HTTP/2.0\r\n\r\n", b"400"),
    (b"nonsense\r\n\r\n", b"400"),
    (b"GET /v1 HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n", b"431"),
    (b"GET /v1 HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"\r\n", b"431"),
    (b"POST /v1/disks HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b" " * 1500000, b"413"),
    (b"POST /v1/disks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    (b"GET /%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    (b"\x16\x03\x01\x02\x00", b""),
    (b"GET /v1 HTTP/1.0\r\n\r\n", b"200"),
], ids=["version", "nonsense", "long-field", "many-fields", "long-body", "two-lengths", "escapes", "tls", "old"])
def test_bytes_that_are_no_request(api, request_, status):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(40)
        raw.connect(api.path)
        try:
            raw.sendall(request_)
            raw.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        answer = b""
        try:
            while data := raw.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    assert answer.split(b" ")[1] == status if status else b"200" not in answer
    assert api.good("GET", "/v1")["disks"] == 1


@pytest.mark.parametrize("method, path, body", [
    ("DELETE", "/v1/disks/golden", {"x": 1}), ("DELETE", "/v1/disks/golden?dryRun=1", None),
    ("POST", "/v1/memory/shrink", {"junk": 1}), ("GET", "/v1/memory?x=1", None), ("GET", "/v1?x=1", None),
    ("POST", "/v1/disks/golden/view", {"size": 1})])
def test_what_a_path_does_not_know_is_refused(api, method, path, body):
    api.refused(400, "unknown-field", method, path, body)
    assert api.good("GET", "/v1")["disks"] == 1


def test_head_of_a_stream_has_no_body(api):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        raw.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := raw.recv(65536):
            answer += data
    head, rest = answer.split(b"\r\n\r\n", 1)
    assert b"text/plain" in head and rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_absolute_form_of_a_request(api):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        raw.sendall(b"GET http://localhost/v1/disks/golden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_code_of_a_job_that_lacks_memory(api, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(8 << 20))
    for body, code in (({"quota": "1M"}, "out-of-memory"), ({"quota": "1M", "reserve": "2M"}, "invalid-size")):
        job = api.good("POST", "/v1/disks/a/import", {"path": str(image), **body})
        job = api.good("GET", f"/v1/jobs/{job['id']}?wait=30")
        assert (job["state"], job["code"]) == ("failed", code)
    api.refused(422, "invalid", "POST", "/v1/disks/a/import", {"path": str(image), "description": "a\nb"})
    api.refused(400, "invalid", "POST", "/v1/disks/a/import", {"path": "/" + "a" * 5000})


def test_waits_for_a_job_keep_nobody_out(api, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDWR), "rb") as pipe, socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        socket.send_fds(raw, [b"POST /v1/disks/a/import HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"], [pipe.fileno()])
        assert b" 202 " in raw.recv(4096)
    waiting = []
    for _ in range(300):
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].connect(api.path)
        waiting[-1].sendall(b"GET /v1/jobs/1?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert api.good("DELETE", "/v1/jobs/1")["id"] == "1"
    assert api.good("GET", "/v1/jobs/1?wait=30")["state"] == "cancelled"


def test_requests_in_a_row(api):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        raw.sendall(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n" * 20 + b"GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := raw.recv(65536):
            answer += data
    assert answer.count(b"HTTP/1.1 200 OK") == 21


def test_head_and_expect(api):
    connection = UnixHTTPConnection(api.path)
    connection.request("HEAD", "/v1/disks")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert int(answer.headers["content-length"]) > 100
    body = json.dumps({"name": "e", "size": "1M"})
    done = run("curl", "-s", "-i", "--unix-socket", api.path, "http://localhost/v1/disks", "-H", "Expect: 100-continue", "-d", body)
    assert "100 Continue" in done.stdout and "201 Created" in done.stdout


def test_both_protocols_on_one_socket(api):
    """The lines of JSON of older clients, beside HTTP."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(api.path)
        raw.sendall(b'{"list":{}}\n')
        assert b"golden" in raw.recv(65536)


def test_many_calls_beside_each_other(api):
    def work(index):
        mine = API(api.server)
        for turn in range(40):
            name = f"w{index}-{turn}"
            mine.good("PUT", f"/v1/disks/golden/forks/{name}")
            mine.good("DELETE", f"/v1/disks/{name}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.good("GET", "/v1")["disks"] == 1
