#!/usr/bin/python3
"""The demo's own NBD client, on libnbd. It does what the packaged tools cannot do.

scripts/demo runs it. It prints one figure. An exception is a failed check.
"""
import json
import os
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import time

import nbd

BLOCK = 4096


def connect(uri, structured=True):
    handle = nbd.NBD()
    handle.set_request_structured_replies(structured)
    handle.connect_uri(uri)
    return handle


def data_blocks(file):
    """The numbers of the blocks for which a sparse file has data."""
    at, end = 0, os.lseek(file, 0, os.SEEK_END)
    while at < end:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        hole = os.lseek(file, at, os.SEEK_HOLE)
        yield from range(at // BLOCK, -(-hole // BLOCK))
        at = hole


def longest_run(image, source):
    """Finds the largest file of an image made from a directory, and its longest run of blocks.

    Prints FIRST:BLOCKS:PATH.
    """
    files = (os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names)
    largest = max((path for path in files if not os.path.islink(path)), key=os.path.getsize)
    path = "/" + os.path.relpath(largest, source)
    listing = subprocess.run(
        ["debugfs", "-R", f'dump_extents -l "{path}"', image],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    # Level/depth, entry/entries, logical first - last, physical first - last, length.
    extents = [list(map(int, re.findall(r"\d+", line))) for line in listing.splitlines()[1:]]
    run = max(extents, key=lambda extent: extent[8])
    print(run[6], run[8], path, sep=":")


def push(uri, before, after):
    """Writes only the blocks that differ between two images, and prints the bytes written."""
    old, new = (os.open(path, os.O_RDONLY) for path in (before, after))
    written = 0
    disk = connect(uri)
    for block in sorted({*data_blocks(old), *data_blocks(new)}):
        at = block * BLOCK
        data = os.pread(new, BLOCK, at)
        if data == os.pread(old, BLOCK, at):
            continue
        if any(data):
            disk.pwrite(data, at)
            written += len(data)
        else:
            disk.zero(BLOCK, at)
    disk.flush()
    disk.shutdown()
    print(written)


def scatter(uri, start, length, count, seed):
    """Writes `count` random blocks in a range, and reads them back on another connection."""
    chance = random.Random(int(seed))
    first, blocks = int(start) // BLOCK, int(length) // BLOCK
    chosen = chance.sample(range(first, first + blocks), min(int(count), blocks))
    data = {block * BLOCK: chance.randbytes(BLOCK) for block in chosen}
    writer, reader = connect(uri), connect(uri)
    for at, block in data.items():
        writer.pwrite(block, at)
    # CAN_MULTI_CONN: all connections see what one has flushed.
    writer.flush()
    for at, block in data.items():
        if reader.pread(BLOCK, at) != block:
            raise SystemExit(f"{uri}: another connection reads other bytes at {at}")
    for handle in (writer, reader):
        handle.shutdown()
    print(len(data) * BLOCK)


def same(uri, image):
    """Compares every byte of a disk, holes too, with an image. Skips only the image's holes."""
    # Without structured replies the server cannot report a hole, so it sends the zeros.
    disk, file = connect(uri, structured=False), os.open(image, os.O_RDONLY)
    part, zeros = 2 << 20, bytes(2 << 20)
    with_data = {block * BLOCK // part for block in data_blocks(file)}
    for at in range(0, disk.get_size(), part):
        count = min(part, disk.get_size() - at)
        wanted = os.pread(file, count, at) if at // part in with_data else zeros[:count]
        if disk.pread(count, at) != wanted:
            raise SystemExit(f"{uri}: differs from {image} within {count} bytes at {at}")
    disk.shutdown()


def first_byte(uri, rounds):
    """Prints the time from a new client to its first byte, in microseconds: the median, and that of 99 %."""
    times = []
    for _ in range(int(rounds)):
        start = time.perf_counter_ns()
        disk = connect(uri)
        disk.pread(1, 1024)  # the first byte of the superblock
        times.append(time.perf_counter_ns() - start)
        disk.shutdown()
    print(round(statistics.median(times) / 1000), round(sorted(times)[len(times) * 99 // 100] / 1000))


def crowd(directory, source, count):
    """Forks a disk `count` times with one request, and removes the forks with another.

    Prints the time of the first request in microseconds, and the memory that the forks take: memory
    of the server's limit, and resident memory. Uses the control socket, since the command line
    needs far longer to parse thousands of names than the server needs to fork.
    """
    control = socket.socket(socket.AF_UNIX)
    control.connect(f"{directory}/control.sock")
    answers = control.makefile()
    process, _, _ = struct.unpack(
        "3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))

    def ask(**request):
        control.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(answers.readline())
        if "failure" in answer:
            raise SystemExit(answer["failure"]["message"])
        return answer

    def memory():
        with open(f"/proc/{process}/statm", encoding="ascii") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return ask(stat={"name": source})["status"]["_0"]["memoryUsed"], resident

    names = [f"crowd{number}" for number in range(int(count))]
    before, start = memory(), time.perf_counter_ns()
    ask(fork={"source": source, "names": names})
    elapsed, after = time.perf_counter_ns() - start, memory()
    ask(remove={"names": names})
    print(elapsed // 1000, *(new - old for new, old in zip(after, before)))


def look(uri, count, stride):
    """Reads `count` untouched blocks as a client without structured replies, such as the kernel's.

    The server cannot report holes to it, so it sends zeros, and those come from the zero page.
    """
    disk = connect(uri, structured=False)
    for index in range(int(count)):
        if any(disk.pread(BLOCK, index * int(stride))):
            raise SystemExit(f"{uri}: an untouched block has a byte other than 0")
    disk.shutdown()


def discard(uri):
    """Discards a whole disk in requests of 1 GiB, and checks that it has no data after that."""
    disk = nbd.NBD()
    disk.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    disk.connect_uri(uri)
    size, part = disk.get_size(), 1 << 30
    kept = 0

    def extents(context, offset, entries, error):
        nonlocal kept
        pairs = zip(entries[::2], entries[1::2])
        kept += sum(length for length, flags in pairs if not flags & nbd.STATE_HOLE)

    for at in range(0, size, part):
        disk.trim(min(part, size - at), at)
    for at in range(0, size, part):
        disk.block_status(min(part, size - at), at, extents)
    disk.shutdown()
    if kept:
        raise SystemExit(f"{uri}: {kept} bytes are still allocated after the discard")


if __name__ == "__main__":
    commands = {
        "longest-run": longest_run, "push": push, "scatter": scatter, "same": same,
        "first-byte": first_byte, "crowd": crowd, "look": look, "discard": discard,
    }
    commands[sys.argv[1]](*sys.argv[2:])
