"""What is kept on disk, and how much of it."""

import os

import pytest

from effnet_core import cache, paths


@pytest.fixture
def kept(own_folders):
    """Three files of 1 MB, last used in the order a, b, c."""
    files = []
    for age, name in enumerate(["a", "b", "c"]):
        path = cache.place("prefix", name, age)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(10**6))
        os.utime(path, (1000 + age, 1000 + age))
        files.append(path)
    return files


def test_a_place_is_decided_by_all_of_its_parts(own_folders):
    assert cache.place("prefix", "x", 1, "2") == cache.place("prefix", "x", 1, "2")
    others = {cache.place("prefix", "x", *parts) for parts in ([1, 2], [2, 1], [12], [1, 2, 3])}
    assert len(others) == 4
    assert all(path.is_relative_to(paths.CACHE) for path in others)


def test_room_is_made_by_what_was_used_longest_ago(kept):
    wanted = cache.place("prefix", "d", "new")
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
    wanted = cache.place("prefix", "d", "new")
    assert not cache.make_room(wanted, 10**7, budget_gb=0.005)
    assert not cache.make_room(wanted, 1, budget_gb=0.0)
    assert all(path.is_file() for path in kept)


def test_clear_deletes_everything(kept):
    assert cache.clear() >= 3 * 10**6
    assert cache.entries() == []
