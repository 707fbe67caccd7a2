"""Which test shows which feature with which client. `scripts/client-matrix` makes docs/clients.md of
the tests that passed."""

import re
import subprocess

FEATURES = ["read", "write", "trim or zeroes", "extents", "several connections", "TCP", "TLS", "fork by name", "64-bit"]

# The Debian packages with the clients.
PACKAGES = {
    "nbdinfo": "libnbd-bin", "nbdcopy": "libnbd-bin", "libnbd (Python)": "python3-libnbd", "nbdfuse, ext4": "libnbd-bin",
    "nbdfuse, XFS": "libnbd-bin", "nbdfuse, btrfs": "libnbd-bin", "qemu-img": "qemu-utils", "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils", "QEMU, a guest": "qemu-utils", "nbdkit nbd": "nbdkit", "fio": "fio"}

# (client, feature, pattern of "test_file: test_name")
COVERS = [
    ("nbdinfo", "read", r"test_nbdinfo: "),
    ("nbdinfo", "extents", r"test_nbdinfo: .*map"),
    ("nbdinfo", "TCP", r"test_tcp: test_nbdinfo"),
    ("nbdinfo", "TLS", r"test_tls_clients: test_nbdinfo"),
    ("libnbd (Python)", "TCP", r"test_transfers: .*tcp.*libnbd|test_transfers: .*libnbd.*tcp"),
    ("nbdcopy", "read", r"test_nbdcopy: test_a_disk_to_a_file"),
    ("nbdcopy", "write", r"test_nbdcopy: test_a_file_to_a_disk"),
    ("nbdcopy", "trim or zeroes", r"test_nbdcopy: test_a_copy_over_old_data"),
    ("nbdcopy", "extents", r"test_nbdcopy: test_a_disk_to_a_file_is_sparse"),
    ("nbdcopy", "several connections", r"test_nbdcopy: .*4_connections"),
    ("nbdcopy", "TCP", r"test_tcp: test_nbdcopy"),
    ("nbdcopy", "TLS", r"test_tls_clients: test_nbdcopy"),
    ("libnbd (Python)", "read", r"test_transfers: .*libnbd"),
    ("libnbd (Python)", "write", r"test_transfers: .*libnbd"),
    ("libnbd (Python)", "trim or zeroes", r"test_memory: test_scattered_pages"),
    ("libnbd (Python)", "TLS", r"test_tls(_clients)?: test_libnbd"),
    ("libnbd 1.17.3", "64-bit", r"test_newer_libnbd: test_zeroes"),
    ("libnbd 1.17.3", "extents", r"test_newer_libnbd: test_extents"),
    ("nbdfuse, ext4", "read", r"test_filesystem: test_ext4"),
    ("nbdfuse, ext4", "write", r"test_filesystem: test_ext4"),
    ("nbdfuse, ext4", "trim or zeroes", r"test_filesystem: test_ext4"),
    ("nbdfuse, XFS", "read", r"test_filesystem: test_xfs"),
    ("nbdfuse, XFS", "write", r"test_filesystem: test_xfs"),
    ("nbdfuse, XFS", "trim or zeroes", r"test_filesystem: test_xfs"),
    ("nbdfuse, btrfs", "read", r"test_filesystem: test_btrfs"),
    ("nbdfuse, btrfs", "write", r"test_filesystem: test_btrfs"),
    ("nbdfuse, btrfs", "trim or zeroes", r"test_filesystem: test_btrfs"),
    ("qemu-img", "read", r"test_qemu_img: test_compare"),
    ("qemu-img", "write", r"test_qemu_img: test_convert"),
    ("qemu-img", "trim or zeroes", r"test_qemu_img: test_convert_keeps_holes"),
    ("qemu-img", "extents", r"test_qemu_img: test_map"),
    ("qemu-img", "TLS", r"test_tls_clients: test_qemu_img"),
    ("qemu-io", "read", r"test_qemu_io: "),
    ("qemu-io", "write", r"test_qemu_io: "),
    ("qemu-io", "trim or zeroes", r"test_qemu_io: .*(zero|discard|trim)"),
    ("qemu-io", "TCP", r"test_tcp: test_it_is_the_same_disk"),
    ("qemu-io", "TLS", r"test_tls_clients: test_qemu_io"),
    ("qemu-io", "fork by name", r"test_tcp: test_a_fork_by_its_name"),
    ("qemu-nbd", "read", r"test_tls_clients: test_qemu_nbd"),
    ("qemu-nbd", "TLS", r"test_tls_clients: test_qemu_nbd"),
    ("QEMU, a guest", "read", r"test_guest: "),
    ("QEMU, a guest", "write", r"test_guest: "),
    ("QEMU, a guest", "fork by name", r"test_guest: "),
    ("nbdkit nbd", "read", r"test_tls_clients: test_nbdkit"),
    ("nbdkit nbd", "write", r"test_tls_clients: test_nbdkit"),
    ("nbdkit nbd", "TLS", r"test_tls_clients: test_nbdkit"),
    ("nbd-tester-client", "read", r"test_reference: .*read"),
    ("nbd-tester-client", "write", r"test_reference: .*integrity"),
    ("nbd-tester-client", "TCP", r"test_reference: .*oversize"),
    ("nbd-tester-client", "TLS", r"test_reference: test_its_integrity_test_over_tls"),
    ("fio", "read", r"test_fio: test_reads"),
    ("fio", "write", r"test_fio: test_random"),
    ("fio", "trim or zeroes", r"test_fio: test_trims"),
    ("fio", "several connections", r"test_fio: test_two_jobs"),
]


def matrix(results):
    """{client: {feature: "passed", "skipped" or "failed"}} of {"test_file: test_name": outcome}."""
    found = {}
    for client, feature, pattern in COVERS:
        outcomes = {outcome for name, outcome in results.items() if re.match(pattern, name)}
        if outcomes:
            worst = next(kind for kind in ("failed", "passed", "skipped") if kind in outcomes)
            found.setdefault(client, {})[feature] = worst
    return found


def version(client):
    """The version of a client, without that of its Debian package."""
    package = PACKAGES.get(client)
    if not package:
        return "source"
    found = subprocess.run(["dpkg-query", "-Wf", "${Version}", package], capture_output=True, text=True).stdout
    return re.sub(r"^\d+:|[+-].*", "", found) or "?"


def page(found):
    lines = [
        "# Clients and features", "",
        "What CI shows with which client. `scripts/client-matrix` makes this page of the tests that ran, and CI compares it",
        "with those that ran there. ✓ means that a test passed, an empty cell that no test is about it. The versions are",
        "Debian's. libnbd 1.17.3 and nbd-tester-client, the reference implementation's, are built from their repositories, where",
        "those can be reached; elsewhere CI skips them, and says so.", "",
        "| client | version | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 2) + "|"]
    for client in dict.fromkeys(client for client, _, _ in COVERS):
        if client in found:
            cells = ["✓" if found[client].get(feature) == "passed" else "" for feature in FEATURES]
            if any(cells):
                lines.append(f"| {client} | {version(client)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(text):
    """The (client, feature) pairs with a ✓ on a page."""
    pairs = set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        pairs |= {(cells[0], feature) for feature, cell in zip(FEATURES, cells[2:]) if cell == "✓"}
    return pairs
