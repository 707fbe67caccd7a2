"""Each client over TLS: by a certificate and by a pre-shared key, over TCP and over a Unix socket.

Every test checks by the server's log that the client was encrypted and who it was, and reads what it
wrote over a connection without TLS.
"""

import contextlib
import json
import os
import re
import subprocess
from types import SimpleNamespace

import pytest

from support.compare import eventually, noise, same_bytes, same_files
from support.tls import Pki, uri
from support.tools import needs, run

MIB = 1 << 20
HAS_AES = bool(re.search(r"^(flags|Features)\b.*\baes\b", open("/proc/cpuinfo").read(), re.M))


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["certificate", "key"])
def credentials(request):
    return request.param


@pytest.fixture
def access(server, pki, credentials, transport, tmp_path):
    """A server with a disk, and how each client reaches it with its credentials."""
    started = server("--tcp", "127.0.0.1:0", "--tls", "required", "--tls-verify-client", *pki.options,
                     "--log-level", "debug", create="data=64M")
    by_key, is_unix = credentials == "key", transport == "unix"
    path, port = f"{started.directory}/nbd.sock", started.tcp.rsplit(":")[-1]
    # qemu wants a directory with a file of this name.
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "keys.psk").write_bytes(pki.keys.read_bytes())
    place = f"server.type=unix,server.path={path}" if is_unix else f"server.type=inet,server.host=127.0.0.1,server.port={port}"
    node = f"driver=nbd,{place},export=data,tls-creds=tls0"
    if is_unix and not by_key:
        node += ",tls-hostname=localhost"
    secret = f"tls-creds-psk,username=bob,dir={keys}" if by_key else f"tls-creds-x509,dir={pki.alice}"
    nbdkit = [f"socket={path}"] if is_unix else ["hostname=127.0.0.1", f"port={port}"]
    nbdkit += ["export=data", "tls=require"]
    nbdkit += ["tls-username=bob", f"tls-psk={pki.keys}"] if by_key else [f"tls-certificates={pki.alice}"]
    if is_unix and not by_key:
        nbdkit += ["tls-verify=false"]
    return SimpleNamespace(
        server=started, pki=pki, path=path, port=port, is_unix=is_unix, by_key=by_key, nbdkit=nbdkit,
        identity="psk:bob" if by_key else "cert:alice", object=f"{secret},id=tls0,endpoint=client",
        # qemu reaches the keys of a nested node by a prefix.
        node=node, raw="driver=raw," + ",".join(f"file.{part}" for part in node.split(",")))


def uri_of(access):
    if access.is_unix and not access.by_key:
        pytest.skip("libnbd 1.14 verifies a host name, and a URI of a Unix socket has none")
    return uri(access.server, "data", access.pki, "bob" if access.by_key else access.pki.alice,
               "unix" if access.is_unix else "tcp")


def was_secure(access):
    """Fails unless a client was connected with this test's credentials, and none without TLS."""
    def lines():
        return [line for line in access.server.log.read_text().splitlines() if re.search(r"\bconnected\b", line)]

    eventually(lines, "the log names the client")
    for line in lines():
        assert f"client={access.identity}" in line, line
        assert re.search(r"encryption=\S*TLS1\.[23]", line), line
        # Where the processor has AES, ChaCha20 would take several times as long.
        assert HAS_AES == ("AES" in line), line


def wrote(access, data, at=0):
    """Checks who the client was, and then what it wrote."""
    was_secure(access)
    same_bytes(access.server.go("data").read(at, len(data)), data, "what the client wrote", at)


def test_nbdinfo(access):
    (export,) = json.loads(run("nbdinfo", "--json", uri_of(access)).stdout)["exports"]
    assert export["export-size"] == 64 * MIB and "base:allocation" in export["contexts"]
    was_secure(access)


def test_nbdinfo_list_and_map(access):
    access.server.go("data").write(MIB, b"x" * 65536)
    address = uri_of(access)
    assert run("nbdinfo", "--map", address).stdout.split()[0:6:3] == ["0", "hole,zero"]
    found = json.loads(run("nbdinfo", "--list", "--json", address.replace("/data?", "/?")).stdout)["exports"]
    assert [export["export-name"] for export in found] == ["data"]


def test_nbdcopy(access, tmp_path):
    image, out = tmp_path / "in", tmp_path / "out"
    image.write_bytes(noise(16 * MIB) + bytes(16 * MIB) + noise(32 * MIB, 2))
    run("nbdcopy", "--connections=4", image, uri_of(access))
    run("nbdcopy", "--connections=4", "--requests=64", uri_of(access), out)
    same_files(out, image)
    wrote(access, image.read_bytes())


def test_libnbd(access):
    import nbd
    handle = nbd.NBD()
    handle.set_tls(nbd.TLS_REQUIRE)
    handle.add_meta_context("base:allocation")
    handle.set_export_name("data")
    if access.by_key:
        handle.set_tls_psk_file(str(access.pki.keys))
        handle.set_tls_username("bob")
    else:
        handle.set_tls_certificates(str(access.pki.alice))
        handle.set_tls_verify_peer(not access.is_unix)
    if access.is_unix:
        handle.connect_unix(access.path)
    else:
        handle.connect_tcp("127.0.0.1", access.port)
    assert handle.get_tls_negotiated()
    data = noise(5 * MIB + 3)
    handle.pwrite(data, 1)
    handle.trim(MIB, 2 * MIB)
    handle.zero(4097, MIB, nbd.CMD_FLAG_NO_HOLE)
    handle.flush()
    extents = []
    handle.block_status(8 * MIB, 0, lambda context, offset, entries, error: extents.extend(entries))
    assert extents[::2][-1] and sum(extents[::2]) >= 8 * MIB
    assert (MIB, 3) in zip(extents[::2], extents[1::2]), "the trimmed MiB is a hole"
    wanted = bytearray(1) + bytearray(data)
    wanted[2 * MIB:3 * MIB] = bytes(MIB)
    wanted[MIB:MIB + 4097] = bytes(4097)
    same_bytes(handle.pread(len(wanted), 0), bytes(wanted), "what libnbd reads")
    with pytest.raises(nbd.Error):
        handle.pread(1, 64 * MIB)
    same_bytes(handle.pread(4096, 2 * MIB - 4096), bytes(wanted[2 * MIB - 4096:2 * MIB]), "after an error")
    handle.shutdown()
    wrote(access, bytes(wanted))


def test_qemu_img(access, tmp_path):
    said = run("qemu-img", "info", "--object", access.object, "--image-opts", access.node).stdout
    assert "virtual size: 64 MiB" in said
    image, out = tmp_path / "in", tmp_path / "out"
    image.write_bytes(noise(8 * MIB) + bytes(48 * MIB) + noise(8 * MIB, 2))
    run("qemu-img", "convert", "-n", "--object", access.object, "--target-image-opts", "-f", "raw", image, access.raw)
    run("qemu-img", "convert", "--object", access.object, "--image-opts", "-O", "raw", access.raw, out)
    same_files(out, image)
    wrote(access, image.read_bytes())


def test_qemu_io(access):
    done = run("qemu-io", "--object", access.object, "--image-opts", access.raw,
               *(part for command in (
                   "write -P 7 1 1M", "write -z -u 512k 64k", "discard 2M 1M", "aio_write -P 9 4M 4M", "aio_flush",
                   "flush", "read -P 0 512k 64k", "read -P 9 4M 4M") for part in ("-c", command)), check=False)
    assert done.returncode == 0 and not re.search("fail|error|mismatch", done.stdout + done.stderr, re.I), (
        done.stdout + done.stderr)
    wanted = bytearray(1) + bytearray(b"\7") * MIB
    wanted[MIB // 2:MIB // 2 + 65536] = bytes(65536)
    wrote(access, bytes(wanted))


@contextlib.contextmanager
def running(*command):
    needs(command[0])
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def test_qemu_nbd_as_a_client(access, tmp_path):
    """qemu-nbd shows the disk without TLS on a socket of its own."""
    image, path = tmp_path / "in", tmp_path / "front"
    image.write_bytes(noise(4 * MIB))
    with running("qemu-nbd", "--persistent", "--object", access.object, "--image-opts", access.raw, "-k", path) as front:
        eventually(lambda: path.exists() or front.poll() is not None, "qemu-nbd is ready")
        assert front.poll() is None, front.stderr.read()
        run("nbdcopy", "--flush", image, f"nbd+unix:///?socket={path}")
    wrote(access, image.read_bytes())


def test_nbdkit_nbd_plugin(access, tmp_path):
    image = tmp_path / "in"
    image.write_bytes(noise(4 * MIB))
    run("nbdkit", "-U", "-", "nbd", *access.nbdkit, "--run", f"nbdcopy --flush {image} $uri")
    wrote(access, image.read_bytes())


# Old versions of nbdfuse and fio let no URI name files with secrets. So nbdkit is their TLS client, as
# libnbd's documentation advises.


def test_nbdfuse_through_nbdkit(access, tmp_path):
    needs("nbdkit")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened")
    point = tmp_path / "fuse"
    point.mkdir()
    data = noise(4 * MIB)
    with running("nbdfuse", point / "nbd", "[", "nbdkit", "--exit-with-parent", "nbd", *access.nbdkit, "]") as fuse:
        try:
            eventually(lambda: (point / "nbd").exists() or fuse.poll() is not None, "nbdfuse shows the disk")
            assert fuse.poll() is None, fuse.stderr.read()
            with open(point / "nbd", "r+b") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        finally:
            if os.path.ismount(point):
                run("umount", point)
    wrote(access, data)


def test_fio_through_nbdkit(access, tmp_path):
    if "nbd" not in run("fio", "--enghelp").stdout.split():
        pytest.skip("this fio has no nbd engine")
    report = tmp_path / "report"
    job = (f"fio --ioengine=nbd --uri=$uri --name=a --rw=randwrite --bsrange=512-256k --size=16M --iodepth=32 "
           f"--verify=crc32c --verify_fatal=1 --output={report} --output-format=json")
    run("nbdkit", "-U", "-", "nbd", *access.nbdkit, "--run", job, cwd=tmp_path)
    (found,) = json.loads(report.read_text())["jobs"]
    assert found["error"] == 0 and found["read"]["total_ios"] >= 64
    was_secure(access)
