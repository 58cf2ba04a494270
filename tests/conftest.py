"""How tests are ordered and shared out; what they use is in shared_fixtures.py."""

import gc
import os
from itertools import groupby

import pytest

A_WORKER = "PYTEST_XDIST_WORKER" in os.environ
pytest_plugins = ["campaign"]


def pytest_configure(config):
    """The process that only shares out the tests starts them without waiting for torch."""
    only_shares_out = config.getoption("dist", "no") != "no" and not A_WORKER
    if not only_shares_out:
        gc.disable()  # importing makes hardly any garbage
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_itemcollected(item):
    """The built book, the browser, trained runs and commands in a copy of the project take long."""
    if {"book", "browser", "clone", "swept", "two_runs"} & set(item.fixturenames):
        item.add_marker(pytest.mark.slow)
    if "browser" in item.fixturenames:
        item.add_marker(pytest.mark.browser)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Long tests begin first: none is left to one process when the others have ended.

    xdist gives each process a piece of the list. Tests of a file stay together, as they share what
    was trained, computed or imported for one of them; so do those of the built book.
    """
    processes = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    long = [item for item in items if item.get_closest_marker("slow")]
    shares = [[item for item in long if "book" in item.fixturenames], *[[]] * (processes - 1)]
    for together in in_pieces([item for item in long if item not in shares[0]]):
        place = min(range(processes)[1:] or [0], key=lambda number: len(shares[number]))
        shares[place] = [*shares[place], *together]
    short = [item for item in items if item not in long]
    pieces, left = [], len(items)
    for number, share in enumerate(shares):
        size = left // (processes - number)
        room = max(0, size - len(share))
        pieces += [*share, *short[:room]]
        short, left = short[room:], left - size
    items[:] = pieces + short


def in_pieces(items):
    """What one process takes at once: a test of minutes, or all other tests of a file."""
    minutes = [item for item in items if "minutes" in item.get_closest_marker("slow").args]
    others = [item for item in items if item not in minutes]
    files = (list(tests) for _, tests in groupby(others, key=lambda item: item.path))
    return [*([item] for item in minutes), *sorted(files, key=len, reverse=True)]
