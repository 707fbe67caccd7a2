"""The files of a checkpoint, written by hand: docs/checkpoints.md has the format."""

import json

from support.crc32c import crc32c

PAGE = 4096


def with_checksum(line):
    """The manifest whose first line this is."""
    return f"{line}\ncrc32c {crc32c(line.encode()):x}\n"


def lying_tables(directory, good, generator, turns):
    """Makes a checkpoint whose tables lie, with checksums that fit, and yields; so many times. `good` is what
    its file of pages was."""
    pages, manifest = directory / "pages.1", json.loads((directory / "CHECKPOINT").read_text().splitlines()[0])
    segment = manifest["segments"][0]
    roots = [disk["contents"]["root"] for disk in manifest["disks"]]
    for _ in range(turns):
        bad = bytearray(good)
        page = generator.choice(roots + [root - 1 for root in roots]) - 1
        at = page * PAGE + generator.randrange(16) * 8
        entry = generator.choice([2, 3, 4, 7, 1]) | generator.choice(
            [0, 1, page + 1, segment["pages"], segment["pages"] + 1, 1 << 31]) << 12
        bad[at:at + 8] = entry.to_bytes(8, "little")
        tail = bad[segment["pages"] * PAGE:]
        tail[page * 4:page * 4 + 4] = crc32c(bytes(bad[page * PAGE:(page + 1) * PAGE])).to_bytes(4, "little")
        pages.write_bytes(bad[:segment["pages"] * PAGE] + tail)
        segment["checksum"] = crc32c(tail)
        (directory / "CHECKPOINT").write_text(with_checksum(json.dumps(manifest)))
        yield
