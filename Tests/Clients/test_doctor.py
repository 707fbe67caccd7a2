"""`hugemem doctor` on copies of /proc and /sys, and under limits."""

import ctypes
import json
import os
import resource
import struct
import subprocess

import pytest

from support.server import BINARY
from support.tools import run

GOOD = {
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never\n",
    "proc/sys/vm/overcommit_memory": "0\n",
    "proc/sys/vm/max_map_count": "65530\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 total=0\n",
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
    "proc/self/cgroup": "0::/group\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/group/memory.max": "1073741824\n",
    "sys/fs/cgroup/group/memory.high": "max\n",
    "sys/fs/cgroup/group/memory.current": "4096\n",
    "sys/fs/cgroup/group/memory.stat": "anon 4096\nfile 0\ninactive_file 0\nactive_file 0\n",
    "sys/fs/cgroup/group/cgroup.controllers": "memory\n",
}


@pytest.fixture
def doctor(tmp_path):
    """doctor(PATH=TEXT or None...): the findings on a machine that differs in some files from a good one,
    by subject, and the exit status."""
    def look(changes={}, **more):
        for path, text in {**GOOD, **changes}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(text)
        done = subprocess.run([BINARY, "doctor", "--json", "--root", tmp_path], capture_output=True, text=True, timeout=60, **more)
        assert done.stderr == ""
        return {finding["subject"]: finding for finding in json.loads(done.stdout)}, done.returncode
    return look


def limiting(found):
    return {subject for subject, finding in found.items() if "effect" in finding}


# What the machine that runs the tests has of its own.
OWN = {"cores", "AES instructions", "open files", "threads", "address space", "memory that survives"}


def test_a_good_machine(doctor):
    found, status = doctor()
    assert limiting(found) <= OWN and status == bool(limiting(found))
    assert found["control group"]["value"] == "v2, limit 1 GiB, " + found["control group"]["value"].split(", ")[2]
    assert found["huge pages"]["value"] == "madvise"


@pytest.mark.parametrize("path, text, subject, change", [
    ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n", "huge pages", "echo madvise"),
    ("sys/kernel/mm/transparent_hugepage/enabled", None, "huge pages", "CONFIG_TRANSPARENT_HUGEPAGE"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "\n", "huge pages", "CONFIG_TRANSPARENT_HUGEPAGE"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "always defer madvise [never]\n", "huge pages, on demand", "echo madvise"),
    ("proc/sys/vm/overcommit_memory", "2\n", "overcommit", "vm.overcommit_memory=0"),
    ("proc/sys/vm/max_map_count", "1000\n", "mappings", "vm.max_map_count"),
    ("proc/pressure/memory", None, "memory stalls (PSI)", "psi=1"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 8 0 -2\n", "swap", "swapoff"),
    ("proc/self/cgroup", None, "control group", "memory controller"),
])
def test_what_limits_a_server_is_told_with_what_changes_it(doctor, path, text, subject, change):
    found, status = doctor({path: text})
    assert status == 1 and limiting(found) - OWN == {subject}
    assert change in found[subject]["change"]


@pytest.mark.parametrize("kind, subject, change", [
    (resource.RLIMIT_NOFILE, "open files", "ulimit -Hn"), (resource.RLIMIT_AS, "address space", "ulimit -v")])
def test_limits_of_the_process(doctor, kind, subject, change):
    found, status = doctor(preexec_fn=lambda: resource.setrlimit(kind, (256 if kind == resource.RLIMIT_NOFILE else 4 << 30,) * 2))
    assert status == 1 and change in found[subject]["change"]


def test_one_core_is_told_of(doctor):
    found, status = doctor(preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    assert status == 1 and found["cores"]["value"] == "1"


def test_for_people(tmp_path):
    """On an empty machine everything that is missing is told in lines."""
    done = run(BINARY, "doctor", "--root", tmp_path, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("limits  huge pages ") for line in lines)
    assert any(line.strip().startswith("change it: ") for line in lines)


def test_this_machine():
    done = run(BINARY, "doctor", check=False)
    assert done.returncode in (0, 1) and "huge pages" in done.stdout
    assert os.path.exists("/sys/kernel/mm/transparent_hugepage") == ("not in this kernel" not in done.stdout.split("huge pages, on")[0])


def test_memory_that_survives_is_tried_on_this_machine(doctor):
    found, _ = doctor()
    finding = found["memory that survives"]
    assert "huge pages" in finding["value"] or "pages of 4 KiB" in finding["value"]
    assert ("effect" in finding) == ("with huge pages" not in finding["value"])
    assert "effect" not in finding or finding["change"]


def filter_of_system_calls():
    """Ends a process that calls fsopen, as systemd's SystemCallFilter= does."""
    # Loads the number; fsopen, the same on all processors: ends the process; else: allows it.
    code = struct.pack("HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, 430, 0x06, 0, 0, 0x80000000, 0x06, 0, 0, 0x7FFF0000)
    keep = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", 4, ctypes.addressof(keep))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
        os._exit(99)


def test_a_filter_that_ends_who_mounts_ends_no_command():
    done = subprocess.run([BINARY, "doctor", "--json"], capture_output=True, text=True, timeout=60, preexec_fn=filter_of_system_calls)
    if done.returncode == 99:
        pytest.skip("no filters of system calls here")
    finding = {one["subject"]: one for one in json.loads(done.stdout)}["memory that survives"]
    assert finding["value"].startswith("a memfd")
    assert "effect" not in finding or "a filter of system calls forbids it" in finding["value"]


def test_without_a_mount_of_its_own_memory_survives_in_a_memfd(doctor):
    """In a namespace that allows no others, there is neither the right to mount nor a namespace to get it in."""
    deny = ["unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"', "-"]
    if subprocess.run([*deny, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces cannot be made, or cannot be forbidden")
    done = subprocess.run([*deny, BINARY, "doctor", "--json"], capture_output=True, text=True, timeout=60)
    finding = {one["subject"]: one for one in json.loads(done.stdout)}["memory that survives"]
    assert finding["value"].startswith("a memfd")
    assert "effect" not in finding or "user namespace: " in finding["value"] and "shmem_enabled" in finding["change"]
