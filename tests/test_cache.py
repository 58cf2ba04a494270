"""What is kept on disk, and how much of it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from effnet_core import cache, paths
from effnet_core.errors import InputError
from effnet_report import clearing, cli


@pytest.fixture
def kept(own_folders):
    """Three files of 1 MB, last used in the order a, b, c."""
    files = []
    for age, name in enumerate(["a", "b", "c"]):
        path = cache.keyed("prefix", name, age)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(10**6))
        os.utime(path, (1000 + age, 1000 + age))
        files.append(path)
    return files


def test_a_place_is_decided_by_all_of_its_parts(own_folders):
    assert cache.keyed("prefix", "x", 1, "2") == cache.keyed("prefix", "x", 1, "2")
    others = {cache.keyed("prefix", "x", *parts) for parts in ([1, 2], [2, 1], [12], [1, 2, 3])}
    assert len(others) == 4
    assert all(path.is_relative_to(paths.CACHE) for path in others)


def test_room_is_made_by_what_was_used_longest_ago(kept):
    wanted = cache.keyed("prefix", "d", "new")
    assert cache.make_room(wanted, 10**6, budget_gb=0.0032)
    assert [path.is_file() for path in kept] == [False, True, True]
    assert cache.make_room(wanted, 10**6, budget_gb=0.0032)
    assert [path.is_file() for path in kept] == [False, True, True]


def test_what_is_wanted_is_there_already_and_becomes_the_latest(kept):
    assert not cache.make_room(kept[0], 10**6, budget_gb=0.0)
    assert cache.make_room(kept[0], 10**6, budget_gb=0.001)
    assert cache.entries()[-1].path == kept[0]
    assert all(path.is_file() for path in kept)


def test_more_than_the_budget_is_not_kept_and_deletes_nothing(kept):
    wanted = cache.keyed("prefix", "d", "new")
    assert not cache.make_room(wanted, 10**7, budget_gb=0.005)
    assert not cache.make_room(wanted, 1, budget_gb=0.0)
    assert all(path.is_file() for path in kept)


def test_clear_deletes_everything(kept):
    assert clearing.clear().freed >= 3 * 10**6
    assert cache.entries() == []


def write_array(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    with cache.new_array(path, np.uint8, (50, 100)) as array:
        array[:] = value


@pytest.mark.fault("caches cleared while in use")
def test_clear_leaves_what_is_mapped_and_what_is_being_written(own_folders):
    mapped, free, growing = (cache.keyed("images", name) for name in ("mapped", "free", "growing"))
    write_array(mapped, 1)
    write_array(free, 1)
    array = cache.open_array(mapped)
    with cache.new_array(growing, np.uint8, (50, 100)) as written:
        written[:] = 3
        cleared = clearing.clear()
        assert len(cleared.in_use) == 2
        assert mapped in cleared.in_use
        assert not free.exists()
    assert (array == 1).all()
    assert (np.load(growing) == 3).all()
    del array, written
    assert clearing.clear().in_use == []
    assert not list((paths.CACHE / "images").iterdir())


@pytest.mark.fault("caches cleared while in use")
def test_what_only_another_process_maps_is_in_use_too(own_folders):
    path = cache.keyed("images", "x")
    write_array(path, 1)
    code = (
        "import sys; from pathlib import Path; from effnet_core import cache; "
        "array = cache.open_array(Path(sys.argv[1])); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        reader.stdout.readline()
        assert clearing.clear().in_use == [path]
        reader.communicate(b"\n")
    assert clearing.clear().in_use == []
    assert not path.exists()


def test_two_that_write_the_same_array_do_not_write_into_each_others(own_folders):
    path = cache.keyed("images", "x")
    path.parent.mkdir(parents=True)
    with cache.new_array(path, np.uint8, (50, 100)) as first:
        first[:] = 1
        with cache.new_array(path, np.uint8, (50, 100)) as second:
            second[:] = 1
        assert (first == 1).all()
    assert (np.load(path) == 1).all()


def test_what_a_killed_process_had_begun_goes_when_another_begins(own_folders):
    path = cache.keyed("images", "x")
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.0123abcd.partial").write_bytes(b"half")
    write_array(path, 1)
    assert list(path.parent.iterdir()) == [path]


def test_room_is_not_made_by_what_is_mapped(own_folders):
    path = cache.keyed("prefix", "x")
    write_array(path, 1)
    array = cache.open_array(path)
    assert not cache.make_room(cache.keyed("prefix", "y"), 6000, budget_gb=9e-6)
    del array
    assert cache.make_room(cache.keyed("prefix", "y"), 6000, budget_gb=9e-6)
    assert not path.exists()


@pytest.mark.fault("caches cleared while in use")
def test_locks_that_somebody_may_wait_for_stay(kept):
    lock = kept[0].with_suffix(".lock")
    lock.touch()
    clearing.clear()
    assert lock.exists()


def test_what_cannot_be_deleted_is_told_and_not_counted(kept, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refused)
    result = CliRunner().invoke(cli.app, ["cache", "--clear"])
    assert isinstance(result.exception, InputError)
    assert "3 files cannot be deleted" in str(result.exception)
    assert "Deleted" not in result.output
    assert len(cache.entries()) == 3
