"""HTTP over TCP: who may do what."""

import http.client
import json
import re
import socket
import ssl
import time

import pytest

from support.http import API, Events
from support.server import BINARY
from support.tls import Authority
from support.tools import refused, run

TOKEN = "a-token-for-this-test"


def page(server):
    """The scheme, host and port of the status page."""
    return re.search(r"status page: (\w+)://(.*):(\d+)/\n", server.said()).groups()


def ask(server, method, path, body=None, headers=None, context=None):
    """The status and the body of an answer."""
    _, host, port = page(server)
    kind = (lambda *a, **b: http.client.HTTPSConnection(*a, context=context, **b)) if context else http.client.HTTPConnection
    connection = kind(host.strip("[]"), int(port), timeout=30)
    connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if "json" in answer.headers["content-type"] else data.decode()


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_without_a_token_clients_may_look(address, server):
    made = server("--http", address, create="a=1M")
    assert ask(made, "GET", "/v1/disks")[1]["disks"][0]["name"] == "a"
    assert "<title>hugemem</title>" in ask(made, "GET", "/")[1]
    assert "hugemem_disks 1\n" in ask(made, "GET", "/metrics")[1]
    for method, path, body in [
        ("DELETE", "/v1/disks/a", None), ("PUT", "/v1/disks/a/forks/b", None), ("PATCH", "/v1/memory", {"limit": "2M"})]:
        status, problem = ask(made, method, path, body)
        assert (status, problem["code"]) == (403, "forbidden") and "--http-token" in problem["detail"]
    assert [disk["name"] for disk in made.json("list")] == ["a"]


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:1", 200), ("127.1.2.3", 200),
    ("attacker.example", 403), ("127.0.0.1.attacker.example", 403), ("localhost.attacker.example:80", 403), ("", 403)])
def test_a_page_of_another_site_cannot_ask(host, status, server):
    """By DNS that says 127.0.0.1 for the site's own name. A browser sends that name as the host."""
    assert ask(server("--http", "127.0.0.1:0", create="a=1M"), "GET", "/v1", headers={"Host": host})[0] == status


def test_with_a_token(server, token):
    made = server("--http", "127.0.0.1:0", "--http-token", token, create="a=1M")
    for headers in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}):
        for path in ("/v1", "/metrics", "/v1/disks/a", "/v1/events", "/nosuch"):
            status, problem = ask(made, "GET", path, headers=headers)
            assert (status, problem["code"]) == (401, "unauthorized")
    # The page itself asks for the token.
    assert ask(made, "GET", "/")[0] == 200
    good = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(made, "PUT", "/v1/disks/a/forks/b", headers=good)[0] == 201
    # Files are for clients of the control socket.
    status, problem = ask(made, "POST", "/v1/disks/a/export", {"path": "/tmp/x"}, good)
    assert (status, problem["code"]) == (403, "forbidden")


def test_over_tls(server, tmp_path, token):
    authority, certificates = Authority(tmp_path, "ca"), tmp_path / "server"
    authority.issue(certificates, "server", "localhost")
    made = server(
        "--http", "127.0.0.1:0", "--http-token", token, "--tls-certificates", certificates, "--tls", "required",
        create="a=1M")
    assert page(made)[0] == "https"
    context = ssl.create_default_context(cafile=authority.certificate)
    assert ask(made, "GET", "/v1", headers={"Authorization": f"Bearer {TOKEN}"}, context=context)[1]["disks"] == 1
    _, host, port = page(made)
    refused("empty reply|reset|HTTP/0.9", "curl", "-sS", "-m", "20", f"http://{host}:{port}/")
    # Where TLS is allowed, both are.
    both = server("--http", "127.0.0.1:0", "--tls-certificates", certificates, create="a=1M")
    assert ask(both, "GET", "/v1")[0] == 200 and ask(both, "GET", "/v1", context=context)[0] == 200


@pytest.mark.parametrize("options, says", [
    (("--http", "nonsense"), "HOST:PORT"),
    (("--http", "0.0.0.0:0"), "--http-token"),
    (("--http-token", "TOKEN"), "needs --http"),
    (("--http", "0.0.0.0:0", "--http-token", "TOKEN"), "TLS"),
    (("--http", "127.0.0.1:0", "--http-token", "SHORT"), "16"),
    (("--http", "127.0.0.1:0", "--http-token", "/dev/zero"), "regular file"),
    (("--http", "127.0.0.1:0", "--http-token", "/nosuch"), "No such file"),
])
def test_starts_that_are_refused(options, says, token, tmp_path):
    (tmp_path / "short").write_text("short\n")
    options = [{"TOKEN": str(token), "SHORT": str(tmp_path / "short")}.get(option, option) for option in options]
    refused(says, BINARY, "serve", "--directory", tmp_path / "d", *options)


def test_curl(server):
    made = server(create="golden=1G")
    done = run("curl", "-sf", "--unix-socket", made.directory / "control.sock", "-X", "PUT", "http://localhost/v1/disks/golden/forks/job-1")
    run("nbdinfo", "--size", json.loads(done.stdout)["uri"])


def test_clients_over_tcp_keep_nobody_out(server):
    """Neither idle ones, nor event streams, nor slow requests; the control socket has places of its own."""
    made = server("--http", "127.0.0.1:0", create="a=1M")
    _, host, port = page(made)
    held = []
    for index in range(200):
        one = socket.create_connection((host, int(port)))
        one.sendall([b"", b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /v1 HTTP/1.1\r\nHost: lo"][index % 3])
        held.append(one)
    assert ask(made, "GET", "/v1")[0] == 200
    assert made.names() == ["a"]
    assert int(re.search(r'connections{socket="http"} (\d+)', ask(made, "GET", "/metrics")[1])[1]) <= 64 + 64


def test_clients_that_do_not_read_long_answers(server):
    """They take memory for a few answers, and keep nobody on the control socket waiting."""
    made = server("--http", "127.0.0.1:0", create="a=1M")
    api = API(made)
    for part in range(3):
        api.good("POST", "/v1/disks/a/forks", {"names": [f"{'x' * 200}{part}-{index}" for index in range(1000)]})
    _, host, port = page(made)
    before, held = made.resident(), []
    for index in range(60):
        one = socket.create_connection((host, int(port)))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(f"GET {['/v1/disks', '/metrics'][index % 2]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        held.append(one)
    time.sleep(1)
    assert len(api.good("GET", "/v1/disks")["disks"]) == 1000
    assert made.resident() - before < 64 << 20


def test_many_event_streams_on_the_control_socket(server):
    made = server(create="a=1M")
    streams = [Events(API(made)) for _ in range(300)]
    assert made.names() == ["a"]
    made.run("fork", "a", "b")
    assert streams[-1].next()[0] == "disk.forked"
