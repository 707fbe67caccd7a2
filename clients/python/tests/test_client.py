"""The client and the fixtures, with a real server: `pytest --hugemem-directory DIR`."""

import threading

import pytest

from hugemem import Problem, Server, Unreachable


@pytest.fixture
def golden(hugemem_server):
    with hugemem_server.create("golden", "64M", exist_ok=True) as disk:
        yield disk


def test_a_disk(hugemem_server):
    with hugemem_server.create("a", "1G", quota="4M", description="mine") as disk:
        assert (disk.size, disk.quota, disk.description, disk.read_only) == (1 << 30, 4 << 20, "mine", False)
        disk.change(read_only=True)
        assert disk.read_only and disk.description == "mine"
        disk.limit(quota=None)
        assert disk.quota is None
        disk.resize("512M", shrink=True)
        assert disk.refresh().size == 512 << 20
        disk.rename("b")
        assert [one.name for one in hugemem_server.disks()] == ["b"]
    with pytest.raises(Problem) as caught:
        hugemem_server.disk("b")
    assert (caught.value.status, caught.value.code) == (404, "no-such-disk") and "b" in str(caught.value)


def test_forks(hugemem_server, golden):
    with golden.fork() as one, hugemem_server.fork("golden", "two") as two:
        assert one.origin == two.origin == "golden" and one.name.startswith("golden-")
        assert {disk.name for disk in hugemem_server.disks(origin="golden")} == {one.name, "two"}
        one.reset()
        assert hugemem_server.ensure_fork("golden", "two").name == "two"
        with pytest.raises(Problem, match="exists"):
            hugemem_server.fork("golden", "two")
    assert list(hugemem_server.disks(origin="golden")) == []


def test_the_end_of_a_block_keeps_its_error(hugemem_server, golden):
    with pytest.raises(ZeroDivisionError):
        with golden.fork() as disk:
            disk.remove()
            1 / 0
    with golden.fork() as disk:
        disk.remove()  # That it is gone already is no error.


def test_images(hugemem_server, golden, tmp_path):
    job = golden.export_image(tmp_path / "image")
    assert (job.state, job.total) == ("done", 64 << 20)
    with hugemem_server.import_image("copy", tmp_path / "image", read_only=True) as disk:
        assert disk.size == 64 << 20 and disk.read_only
    with pytest.raises(Problem, match="nosuch"):
        hugemem_server.import_image("copy", tmp_path / "nosuch")


def test_events(hugemem_server, golden):
    last = next(iter(hugemem_server.events(after=0))).id - 1
    with golden.fork("seen"):
        pass
    found = []
    for event in hugemem_server.events(after=last):
        found.append(event)
        if (event.kind, event.disk) == ("removed", "seen"):
            break
    assert [event.kind for event in found if event.disk == "seen"][-2:] == ["forked", "removed"]
    assert [event for event in found if event.disk == "seen"][-2].origin == "golden"


def test_events_that_are_refused(hugemem_server):
    with pytest.raises(Problem, match="number"):
        next(iter(hugemem_server.events(after=-1)))


def test_no_server(tmp_path):
    with pytest.raises(Unreachable, match="hugemem serve"):
        Server(tmp_path).memory()


def test_a_server_for_each_thread(hugemem_server, golden):
    def work():
        with Server(hugemem_server.directory) as mine:
            for _ in range(20):
                with mine.fork("golden"):
                    pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(hugemem_server.disks(origin="golden")) == []


def test_the_fixture(hugemem_disk, golden):
    one, two = hugemem_disk("golden"), hugemem_disk("golden", quota="1M")
    assert one.name != two.name and two.quota == 1 << 20
    one.remove()
    test_the_fixture.left = two.name


def test_the_fixture_removed_its_disks(hugemem_server):
    assert test_the_fixture.left not in [disk.name for disk in hugemem_server.disks()]
