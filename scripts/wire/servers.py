"""Disk servers to compare, each with one full disk, and the client of limit.c."""
import contextlib, os, socket, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
HUGEMEM = os.path.abspath(os.environ.get("HUGEMEM") or f"{HERE}/../../.build/release/hugemem")


def compile_limit(work):
    subprocess.run(["cc", "-O2", "-pthread", f"{HERE}/limit.c", "-lgnutls", "-o", f"{work}/limit"], check=True)
    return f"{work}/limit"


def versions():
    """One line with the versions of what is compared."""
    def first(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]
    return ", ".join([first("nbdkit", "--version"), first("qemu-nbd", "--version"), first(HUGEMEM, "--version")])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """One server. `name` is "limit", "nbdkit null", "nbdkit memory", "nbdkit file", "qemu-nbd", or
    "hugemem" and options of `serve`. It listens on a Unix socket, or on a port of 127.0.0.1. With `keys`, a file of pre-shared
    keys named keys.psk, it wants TLS. A name can also be a pair: any name, and a binary of hugemem."""

    def __init__(self, name, work, size, tcp=False, keys=None):
        name, binary = name if isinstance(name, tuple) else (name, HUGEMEM if name.startswith("hugemem") else None)
        options = name.split()[1:]
        self.name, self.size, self.image = name, size, None
        self.key = open(keys).read().strip().split(":") if keys else []
        directory = tempfile.mkdtemp(dir=work, prefix=name.replace(" ", "-"))
        path, port = f"{directory}/nbd.sock", free_port() if tcp else None
        self.address = str(port) if tcp else path
        if name in ("qemu-nbd", "nbdkit file"):
            self.image = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="hugemem-peers.")
            os.truncate(self.image.name, size)
        if name == "limit":
            command = [f"{work}/limit", "serve", self.address, str(size)]
        elif binary:
            command = [binary, "serve", "--directory", directory, "--memory", str(2 * size), "--create", f"disk={size}",
                       *options]
            command += ["--tcp", f"127.0.0.1:{port}"] if tcp else []
            command += ["--tls-psk", keys, "--tls", "required"] if keys else []
        elif name == "qemu-nbd":
            command = ["qemu-nbd", "-t", "-e", "64", "-f", "raw", "-x", "disk", self.image.name]
            command += ["-b", "127.0.0.1", "-p", str(port)] if tcp else ["-k", path]
            if keys:
                command += ["--object", f"tls-creds-psk,id=tls,endpoint=server,dir={os.path.dirname(keys)}", "--tls-creds", "tls"]
        else:
            command = ["nbdkit", "-f", *(["-i", "127.0.0.1", "-p", str(port)] if tcp else ["-U", path])]
            command += ["--tls=require", f"--tls-psk={keys}"] if keys else []
            command += ["file", self.image.name] if self.image else [name.split()[1], str(size)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self.accepts():
            assert self.process.poll() is None and time.monotonic() < end, f"{name} did not start"
            time.sleep(0.05)
        self.uri = f"nbd://127.0.0.1:{port}/disk" if tcp else f"nbd+unix:///disk?socket={path}"

    def accepts(self):
        """Whether the server listens. Does not connect, since qemu-nbd would complain."""
        if self.address.isdigit():
            listening = f"0100007F:{int(self.address):04X} 00000000:0000 0A"
            return listening in open("/proc/net/tcp").read()
        return os.path.exists(self.address)

    def cpu(self):
        """The CPU time that the process has used, in seconds, also by threads that are gone."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def used(self):
        """What the threads that live have used: CPU in seconds, and how often they have slept."""
        cpu = sleeps = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                path = f"/proc/{self.process.pid}/task/{task}"
                cpu += int(open(f"{path}/schedstat").read().split()[0])
                sleeps += int(open(f"{path}/status").read().split("\nvoluntary_ctxt_switches:")[1].split()[0])
        return cpu / 1e9, sleeps

    def stop(self):
        self.process.terminate()
        self.process.wait()
        if self.image:
            self.image.close()


@contextlib.contextmanager
def servers(names, size, **options):
    """Yields the servers by their names, each with a full disk, and stops them."""
    with tempfile.TemporaryDirectory(prefix="hugemem-peers.") as work:
        limit, started = compile_limit(work), {}
        try:
            for name in names:
                server = Server(name, work, size, **options)
                started[server.name] = server
                server.client = limit
                load(server, "write", 256 << 10, 8, seconds=max(1, size >> 28))
            yield started
        finally:
            for server in started.values():
                server.stop()


def load(server, kind, size, depth, connections=1, seconds=1):
    """Runs the client. Returns operations per second, latencies at 50 % and 99 % in µs, and for each
    operation the server's CPU in µs and how often one of its threads slept."""
    process = subprocess.Popen(
        [server.client, "load", server.address, "disk", kind, str(size), str(depth), str(connections), str(seconds),
         str(server.size), *server.key], stdout=subprocess.PIPE, text=True)
    # A thread's time is gone with the thread, so look at it before the connections end.
    time.sleep(0.2)
    before, begin = server.used(), time.monotonic()
    time.sleep(seconds - 0.3)
    after, passed = server.used(), time.monotonic() - begin
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"{server.name}: the client failed"
    rate, p50, p99 = map(float, output.split())
    cpu, sleeps = ((late - early) / passed / rate for early, late in zip(before, after))
    return {"rate": rate, "p50": p50 / 1000, "p99": p99 / 1000, "cpu": cpu * 1e6, "sleeps": sleeps}
