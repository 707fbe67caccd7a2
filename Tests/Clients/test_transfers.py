"""Every client reads what another has written, whatever clients and transports they use."""

import itertools

import pytest

from support.compare import noise, same_bytes
from support.tools import run

SIZE = 5 * (1 << 20) + 4096 + 512


def by_nbdcopy(server, transport, folder):
    uri, file = server.uri("data", transport), folder / "copy"

    def write(data):
        file.write_bytes(data)
        run("nbdcopy", file, uri)

    def read():
        run("nbdcopy", uri, file)
        return file.read_bytes()

    return write, read


def by_qemu_img(server, transport, folder):
    uri, file = server.uri("data", transport), folder / "convert"

    def write(data):
        file.write_bytes(data)
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", file, uri)

    def read():
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, file)
        return file.read_bytes()

    return write, read


def by_libnbd(structured):
    def open_disk(server, transport, folder):
        handle = server.libnbd("data", structured, transport)
        return lambda data: handle.pwrite(data, 0), lambda: bytes(handle.pread(SIZE, 0))
    return open_disk


def by_wire(structured):
    def open_disk(server, transport, folder):
        wire = server.go("data", structured, transport=transport)
        return lambda data: wire.write(0, data), lambda: wire.read(0, SIZE)
    return open_disk


CLIENTS = {
    "nbdcopy": by_nbdcopy, "qemu-img": by_qemu_img,
    "libnbd": by_libnbd(True), "libnbd-simple": by_libnbd(False),
    "wire": by_wire(True), "wire-simple": by_wire(False),
}


@pytest.mark.parametrize("writer", CLIENTS)
def test_what_one_client_writes_all_others_read(server, tmp_path, transport, writer):
    server = server("--tcp", "127.0.0.1:0", create=f"data={SIZE}")
    # Data, a hole of more than 2 MiB, and data up to an end in the middle of a page.
    data = noise(1 << 20) + bytes(3 << 20) + noise(SIZE - (4 << 20), 2)
    write, _ = CLIENTS[writer](server, transport, tmp_path)
    write(data)
    for reader, way in itertools.product(CLIENTS, ("unix", "tcp")):
        _, read = CLIENTS[reader](server, way, tmp_path)
        same_bytes(read(), data, f"written by {writer} over {transport}, read by {reader} over {way}")
