"""The metrics, as Prometheus reads them."""

import json
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from support.compare import eventually
from support.http import API
from support.tools import run
from support.wire import ENOSPC, FLUSH, TRIM, WRITE_ZEROES

ROOT = Path(__file__).parents[2]
# Prints each family with its type, unit and samples.
PARSE = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps([[family.name, family.type, family.unit, [[s.name, s.labels, s.value] for s in family.samples]]
                  for family in text_string_to_metric_families(sys.stdin.read())]))
"""


def openmetrics(api):
    status, text, headers = api.whole("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert status == 200 and headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    return text


def values(text):
    """The samples of a text, by name and labels."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in found, f"{name} is there twice"
            found[name] = float(value)
    return found


@pytest.fixture
def busy(server):
    """The API of a server whose disks have seen requests of several kinds."""
    made = server(create=("golden=64M", "idle=64M"))
    with closing(made.go("golden")) as wire:
        for index in range(10):
            wire.write(index * 4096, b"x" * 4096)
        for index in range(5):
            wire.read(index * 4096, 8192)
        wire.ask(FLUSH)
        wire.ask(TRIM, 0, 4096)
        wire.ask(WRITE_ZEROES, 4096, 4096)
        api = API(made)
        api.good("PUT", "/v1/disks/small", {"size": "1M", "quota": 8192})
        with closing(made.go("small")) as small:
            assert small.error(1, 0, 1 << 16, payload=b"y" * (1 << 16)) == ENOSPC
    api.good("PUT", "/v1/disks/golden/forks/fork")
    api.server = made
    return api


def test_what_was_done_is_counted(busy):
    found = values(busy("GET", "/metrics")[1])
    counts = {"read": 5, "write": 10, "flush": 1, "trim": 1, "write_zeroes": 1}
    for operation, count in counts.items():
        label = f'{{disk="golden",operation="{operation}"}}'
        assert found[f"hugemem_disk_operations_total{label}"] == count
        assert found[f"hugemem_disk_operation_duration_seconds_count{label}"] == count
        assert found[f"hugemem_disk_operation_duration_seconds_sum{label}"] > 0
    assert found['hugemem_disk_transferred_bytes_total{disk="golden",operation="read"}'] == 5 * 8192
    assert found['hugemem_disk_transferred_bytes_total{disk="golden",operation="write"}'] == 10 * 4096
    assert found['hugemem_disk_errors_total{disk="small",error="ENOSPC"}'] == 1
    assert found['hugemem_disk_quota_bytes{disk="small"}'] == 8192
    assert not any('disk="idle"' in name and "operations" in name for name in found)
    assert found["hugemem_disks"] == 4
    assert found['hugemem_disk_shared_bytes{disk="fork"}'] == found['hugemem_disk_data_bytes{disk="fork"}'] > 0
    assert found['hugemem_memory_used_bytes{kind="data"}'] == busy.good("GET", "/v1/memory")["kinds"]["data"]
    assert found["hugemem_zero_page_references"] == busy.good("GET", "/v1/memory")["zeroPageReferences"]


def test_a_histogram_adds_up(busy):
    found = values(busy("GET", "/metrics")[1])
    buckets = [value for name, value in found.items() if name.startswith('hugemem_disk_operation_duration_seconds_bucket{disk="golden",operation="write"')]
    assert len(buckets) == 20 and buckets == sorted(buckets) and buckets[-1] == 10
    # A request of 1 MiB, whose payload comes in two parts half a second apart, took that long.
    with closing(busy.server.go("idle")) as wire:
        wire.request(1, 0, 1 << 20, payload=b"x" * (1 << 19))
        import time
        time.sleep(0.5)
        wire.send(b"x" * (1 << 19))
        wire.reply()
        wire.ask(FLUSH)
        found = values(busy("GET", "/metrics")[1])
    assert found['hugemem_disk_operation_duration_seconds_sum{disk="idle",operation="write"}'] >= 0.5
    assert found['hugemem_disk_operation_duration_seconds_bucket{disk="idle",operation="write",le="0.262144000"}'] == 0


def test_counts_stay_when_clients_are_gone(busy):
    """While connections come and go, the sums only grow."""
    last = 0
    for _ in range(30):
        with closing(busy.server.go("golden")) as wire:
            wire.read(0, 4096)
        now = values(busy("GET", "/metrics")[1])['hugemem_disk_transferred_bytes_total{disk="golden",operation="read"}']
        assert now >= last + 4096 or last == 0
        last = now
    assert busy.good("GET", "/v1/disks/golden")["bytesRead"] == last


def test_promtool_finds_no_fault(busy):
    done = run("promtool", "check", "metrics", input=busy("GET", "/metrics")[1], check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.deadline(300)
def test_prometheus_own_parser(busy):
    python = subprocess.run([ROOT / "scripts/python-env"], capture_output=True, text=True)
    if python.returncode != 0:
        pytest.skip(f"prometheus_client cannot be installed: {python.stderr.strip().splitlines()[-1]}")
    text = openmetrics(busy)
    families = json.loads(run(python.stdout.strip(), "-c", PARSE, input=text).stdout)
    assert len(families) > 30
    by_name = {name: (kind, unit) for name, kind, unit, _ in families}
    assert by_name["hugemem_disk_operation_duration_seconds"] == ("histogram", "seconds")
    assert by_name["hugemem_memory_given_back_bytes"] == ("counter", "bytes")
    # Both formats say the same.
    older = values(busy("GET", "/metrics")[1])
    assert set(values(text)) == set(older)


def test_the_field_guide_has_every_metric(busy):
    """docs/metrics.md names what the server can show, and nothing else."""
    shown = set(re.findall(r"^# TYPE (\S+)", openmetrics(busy), re.M))
    source = (ROOT / "Sources/HTTPAPI/Metrics/Families.swift").read_text()
    built = {f"hugemem_{name}" for name in re.findall(r'\.(?:gauge|counter|histogram|info), "(\w+)"', source.replace("process: .", "process: "))}
    built |= {f"process_{name}" for name in re.findall(r'process: \.\w+, "(\w+)"', source)}
    guide = set(re.findall(r"^\| `((?:hugemem|process)_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
    assert guide == built
    assert shown <= built


def test_without_single_disks(busy):
    text = busy("GET", "/metrics?disks=none")[1]
    assert "hugemem_disks 4\n" in text and "disk=" not in text
    busy.refused(400, "invalid", "GET", "/metrics?disks=some")


def test_a_removed_disk_is_gone(busy):
    eventually(lambda: busy("DELETE", "/v1/disks/idle")[0] == 204, "its client is gone")
    assert 'disk="idle"' not in busy("GET", "/metrics")[1]


def test_the_dashboard_asks_for_metrics_that_exist():
    dashboard = json.loads((ROOT / "packaging/grafana.json").read_text())
    guide = (ROOT / "docs/metrics.md").read_text()
    asked = {name for panel in dashboard["panels"] for target in panel["targets"]
             for name in re.findall(r"\b(?:hugemem|process)_\w+", target["expr"])}
    assert len(asked) > 10
    for name in asked:
        assert f"`{re.sub('_(total|bucket)$', '', name)}`" in guide, name
