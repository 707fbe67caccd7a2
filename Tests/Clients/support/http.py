"""HTTP over a Unix socket, by Python's own client."""

import http.client
import json
import socket


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class API:
    """The HTTP API of a server. A call returns the status and the decoded body."""

    def __init__(self, server):
        self.path = str(server.directory / "control.sock")
        self.connection = UnixHTTPConnection(self.path)

    def __call__(self, method, path, body=None, headers=None):
        status, document, _ = self.whole(method, path, body, headers)
        return status, document

    def whole(self, method, path, body=None, headers=None):
        """The status, the decoded body, and the headers."""
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        data = answer.read()
        kind = answer.headers.get("content-type", "")
        return answer.status, json.loads(data) if "json" in kind else data.decode(), dict(answer.headers)

    def good(self, method, path, body=None):
        """The decoded body of a call that must succeed."""
        status, document = self(method, path, body)
        assert 200 <= status < 300, (status, document)
        return document

    def refused(self, status, code, method, path, body=None):
        """A call that must fail with this status and code. Returns the sentence."""
        found, problem, headers = self.whole(method, path, body)
        assert (found, problem.get("code")) == (status, code), problem
        assert headers["content-type"] == "application/problem+json"
        assert problem["status"] == status and problem["title"] and problem["detail"]
        return problem["detail"]


class Events:
    """The server-sent events of a server, from now on."""

    def __init__(self, api, after=None):
        self.connection = UnixHTTPConnection(api.path)
        self.connection.request("GET", "/v1/events", headers={"Last-Event-ID": str(after)} if after is not None else {})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200 and self.answer.headers["content-type"] == "text/event-stream"

    def next(self):
        """The next event: its kind, its id and its data."""
        fields = {}
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            line = line.rstrip("\n")
            if not line:
                if "event" in fields:
                    return fields["event"], int(fields.get("id", 0)), json.loads(fields["data"])
                fields = {}
            elif not line.startswith(":"):
                name, value = line.split(": ", 1)
                fields[name] = value

    def close(self):
        self.answer.close()
        self.connection.close()
