#!/usr/bin/env python3
"""The same work as ArrayBenchmarks, by numpy: arrays in memory, and numpy.memmap on a sparse file that
is mapped copy-on-write, numpy's way to a cheap snapshot.

usage: numpy_arrays.py [MEGABYTES]     the size of the arrays; 256 by default
"""
import os
import sys
import tempfile
import time

import numpy

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 256
COUNT = MEGABYTES << 17


def median(rounds, operations, work):
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) / operations * 1e9)
    return sorted(times[1:])[rounds // 2]


def line(name, nanoseconds, note=""):
    value = f"{nanoseconds:.3g} ns" if nanoseconds < 1e3 else f"{nanoseconds / 1e3:.3g} µs" if nanoseconds < 1e6 \
        else f"{nanoseconds / 1e6:.3g} ms"
    print(f"  {name:44}{value:>12}   {note}".rstrip(), flush=True)


def main():
    print(f"numpy {numpy.__version__}, {MEGABYTES} MiB of int64")
    array = numpy.arange(COUNT)
    line("numpy, sum in order, each", median(7, COUNT, array.sum))
    line("numpy, fill in order, each", median(7, COUNT, lambda: numpy.copyto(array, 7)))
    places = numpy.random.default_rng(3).integers(0, COUNT, 1 << 22)
    line("numpy, gather at random, each", median(7, len(places), lambda: array[places].sum()))

    def scatter():
        array[places] = 1
    line("numpy, scatter at random, each", median(7, len(places), scatter))

    def copied():
        copy = array.copy()
        array[COUNT // 2] += 1
        return copy
    line("numpy, copy and one write", median(5, 1, copied))

    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        path = os.path.join(folder, "array")
        numpy.memmap(path, numpy.int64, "w+", shape=COUNT)[:] = array

        def mapped():
            copy = numpy.memmap(path, numpy.int64, "c", shape=COUNT)
            copy[COUNT // 2] += 1
        line("numpy.memmap, map and one write", median(50, 1, mapped), "a snapshot of a file that must not change")
        snapshot = numpy.memmap(path, numpy.int64, "c", shape=COUNT)
        line("numpy.memmap, sum in order, each", median(3, COUNT, snapshot.sum))

        sparse = os.path.join(folder, "sparse")
        with open(sparse, "wb") as file:
            os.truncate(file.fileno(), 8 << 40)
        huge = numpy.memmap(sparse, numpy.int64, "r+", shape=1 << 40)
        starts = numpy.random.default_rng(9).integers(0, (1 << 40) // 512, 1954) * 512
        neighbours = (starts[:, None] + numpy.arange(512)).ravel()
        begin = time.perf_counter()
        huge[neighbours] = neighbours
        line("numpy.memmap, 10^6 writes, 512 neighbours each",
             (time.perf_counter() - begin) / len(neighbours) * 1e9, "into the page cache")


main()
