"""The server, its disks, jobs and events."""

from __future__ import annotations

import http.client
import json
import os
import time
import uuid
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Iterator, Union
from urllib.parse import quote

from ._http import UnixConnection

Size = Union[int, str]
"""A number of bytes, or text such as "10G"."""


class Problem(Exception):
    """The server refused a request. `code` stays the same in all versions of the API."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Unreachable(Exception):
    """No server answers, or it has ended."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a disk. `kind` is created, forked, renamed, reset, resized, changed, removed, or missed."""

    kind: str
    id: int = 0
    time: float = 0.0
    disk: str = ""
    origin: str | None = None
    former_name: str | None = None
    count: int = 0


@dataclass(frozen=True)
class Job:
    """Long work: an import or an export. `done` and `total` are bytes."""

    id: str
    kind: str
    disk: str
    state: str
    done: int
    total: int
    code: str | None = None
    detail: str | None = None


@dataclass
class Disk:
    """A disk as it was when the server was asked. Sizes are in bytes. As a context manager, removes the disk at the end."""

    name: str
    uri: str
    size: int
    data: int
    shared: int
    own: int
    huge: int
    read_only: bool
    clients: int
    origin: str | None
    description: str | None
    quota: int | None
    reserve: int | None
    _server: "Server" = field(repr=False, compare=False)

    def fork(self, name: str | None = None, **options: Any) -> "Disk":
        """A fork of this disk; see `Server.fork`."""
        return self._server.fork(self.name, name, **options)

    def reset(self) -> None:
        """Returns a fork to the contents that it was made with. Its clients stay connected."""
        self._update(self._server._ask("POST", f"/disks/{quote(self.name)}/reset"))

    def resize(self, size: Size, *, shrink: bool = False) -> None:
        """Changes the size. Clients see it when they connect again."""
        self._update(self._server._ask("POST", f"/disks/{quote(self.name)}/resize", {"size": size, "shrink": shrink}))

    def rename(self, name: str) -> None:
        """Gives the disk another name. Its clients stay connected."""
        self._update(self._server._ask("POST", f"/disks/{quote(self.name)}/rename", {"name": name}))

    def change(self, *, read_only: bool | None = None, description: str | None = None) -> None:
        """Protects the disk from writes, or describes it."""
        self._update(self._server._ask(
            "PATCH", f"/disks/{quote(self.name)}", {"readOnly": read_only, "description": description}))

    def limit(self, **limits: Size | None) -> None:
        """Changes `quota` or `reserve`; None lifts one."""
        self._update(self._server._ask("PATCH", f"/disks/{quote(self.name)}/limit", limits))

    def refresh(self) -> "Disk":
        """Asks for the figures again."""
        self._update(self._server._ask("GET", f"/disks/{quote(self.name)}"))
        return self

    def export_image(self, path: str | os.PathLike[str]) -> Job:
        """Writes the disk to a raw image, and waits for that."""
        body = {"path": os.path.abspath(path)}
        return self._server._finished(self._server._ask("POST", f"/disks/{quote(self.name)}/export", body))

    def remove(self, *, timeout: float = 5.0) -> None:
        """Removes the disk. Waits up to `timeout` seconds for clients that are just disconnecting."""
        end = time.monotonic() + timeout
        while True:
            try:
                self._server._ask("DELETE", f"/disks/{quote(self.name)}")
                return
            except Problem as problem:
                if problem.code != "disk-in-use" or time.monotonic() >= end:
                    raise
                time.sleep(0.01)

    def _update(self, document: dict[str, Any]) -> None:
        new = Disk._of(self._server, document)
        for one in fields(self):
            setattr(self, one.name, getattr(new, one.name))

    @classmethod
    def _of(cls, server: "Server", it: dict[str, Any]) -> "Disk":
        return cls(
            it["name"], it["uri"], it["size"], it["data"], it["shared"], it["own"], it["huge"], it["readOnly"],
            it["clients"], it.get("origin"), it.get("description"), it.get("quota"), it.get("reserve"), server)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.remove()
        except (Problem, Unreachable) as problem:
            # Somebody removed it already. An error of the block counts more than one of the end.
            if error is None and getattr(problem, "code", "") != "no-such-disk":
                raise


class Server:
    """A server, by its directory; by default the user's own. Has one connection, so use one for each thread."""

    def __init__(self, directory: str | os.PathLike[str] | None = None, *, timeout: float | None = 60.0) -> None:
        if directory is None:
            runtime = os.environ.get("XDG_RUNTIME_DIR")
            directory = Path(runtime, "hugemem") if runtime else Path(f"/tmp/hugemem-{os.getuid()}")
        self.directory = Path(directory)
        self._timeout = timeout
        self._connection = self._connect(timeout)

    def create(
        self, name: str, size: Size, *, exist_ok: bool = False, quota: Size | None = None, reserve: Size | None = None,
        read_only: bool = False, description: str | None = None,
    ) -> Disk:
        """An empty disk. With `exist_ok`, one that is there with this size is as good."""
        body = self._options(quota, reserve, read_only, description) | {"size": size}
        if exist_ok:
            return self._disk("PUT", f"/disks/{quote(name, safe='')}", body)
        return self._disk("POST", "/disks", body | {"name": name})

    def fork(
        self, source: str, name: str | None = None, *, quota: Size | None = None, reserve: Size | None = None,
        read_only: bool = False, description: str | None = None,
    ) -> Disk:
        """A fork of a disk, after all its completed writes. Without a name, it gets one that nobody else has."""
        name = name or f"{source[:200]}-{uuid.uuid4().hex[:12]}"
        body = self._options(quota, reserve, read_only, description) | {"names": [name]}
        answer = self._ask("POST", f"/disks/{quote(source, safe='')}/forks", body)
        return Disk._of(self, answer["disks"][0])

    def ensure_fork(self, source: str, name: str) -> Disk:
        """The fork of this name, which is made if it is not there."""
        return self._disk("PUT", f"/disks/{quote(source, safe='')}/forks/{quote(name, safe='')}")

    def disk(self, name: str) -> Disk:
        if not name:
            raise ValueError("a disk has a name")
        return self._disk("GET", f"/disks/{quote(name, safe='')}")

    def disks(self, *, origin: str | None = None) -> Iterator[Disk]:
        """All disks in the order of their names, or only the forks of one."""
        after: str | None = ""
        while after is not None:
            query = f"?after={quote(after)}" + (f"&origin={quote(origin)}" if origin is not None else "")
            answer = self._ask("GET", f"/disks{query}")
            yield from (Disk._of(self, one) for one in answer["disks"])
            after = answer.get("next")

    def import_image(self, name: str, path: str | os.PathLike[str], *, size: Size | None = None, read_only: bool = False) -> Disk:
        """A disk with the contents of a raw image. Waits until it is complete."""
        body = {"path": os.path.abspath(path), "size": size, "readOnly": read_only}
        self._finished(self._ask("POST", f"/disks/{quote(name, safe='')}/import", body))
        return self.disk(name)

    def memory(self) -> dict[str, Any]:
        """The server's memory, pressure and counters, as the API has them."""
        memory: dict[str, Any] = self._ask("GET", "/memory")
        return memory

    def events(self, *, after: int | None = None, timeout: float | None = None) -> Iterator[Event]:
        """What happens to disks from now on, or after an event. Ends with the server, or raises TimeoutError if
        nothing happens for `timeout` seconds (a silent server still answers every 15)."""
        connection = self._connect(timeout)
        try:
            connection.request("GET", "/v1/events", headers={} if after is None else {"Last-Event-ID": str(after)})
            answer = connection.getresponse()
            if answer.status >= 400:
                document = json.loads(answer.read())
                raise Problem(answer.status, document["code"], document["detail"])
            found: dict[str, str] = {}
            while line := answer.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    found[name] = value
                elif "event" in found:
                    data = json.loads(found["data"])
                    yield Event(
                        found["event"].removeprefix("disk."), data.get("id", 0), data.get("time", 0.0), data.get("disk", ""),
                        data.get("origin"), data.get("formerName"), data.get("count", 0))
                    found = {}
                else:
                    found = {}
        except TimeoutError:
            raise
        except OSError as error:
            raise Unreachable(self._nobody()) from error
        finally:
            connection.close()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _options(quota: Size | None, reserve: Size | None, read_only: bool, description: str | None) -> dict[str, Any]:
        return {"quota": quota, "reserve": reserve, "readOnly": read_only, "description": description}

    def _connect(self, timeout: float | None) -> UnixConnection:
        return UnixConnection(str(self.directory / "control.sock"), timeout)

    def _nobody(self) -> str:
        return f"no server answers in {self.directory}; start one with `hugemem serve`, or name its directory"

    def _disk(self, method: str, path: str, body: dict[str, Any] | None = None) -> Disk:
        return Disk._of(self, self._ask(method, path, body))

    def _finished(self, job: dict[str, Any]) -> Job:
        wait = 30 if self._timeout is None else max(0, min(30, int(self._timeout / 2)))
        while job["state"] == "running":
            job = self._ask("GET", f"/jobs/{job['id']}?wait={wait}")
            if not wait:
                time.sleep(0.1)
        if job["state"] != "done":
            raise Problem(500, job.get("code", "failed"), job.get("detail", ""))
        return Job(**job)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        text = None if body is None else json.dumps(body)
        # The server may have cut an idle connection, so a request that could not be sent is sent again once.
        was_open = self._connection.sock is not None
        try:
            try:
                self._connection.request(method, f"/v1{path}", text)
                answer = self._connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected):
                self._connection.close()
                if not was_open:
                    raise
                self._connection.request(method, f"/v1{path}", text)
                answer = self._connection.getresponse()
            data = answer.read()
        except TimeoutError:
            # The answer to this request must not be taken for that to the next one.
            self._connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unreachable(f"{self._nobody()} ({error})") from error
        except BaseException:
            self._connection.close()
            raise
        document: Any = json.loads(data) if data else {}
        if answer.status >= 400:
            raise Problem(answer.status, document["code"], document["detail"])
        return document
