"""A run that is killed, at any moment, ends with the record it would have had anyway."""

import os
import shutil
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from effnet_core import paths
from effnet_core.study import provenance

pytestmark = pytest.mark.slow

KILLS, KILLS_OF_THE_CAMPAIGN = 8, 30


def clear() -> None:
    for folder in (paths.RESULTS, paths.CACHE):
        shutil.rmtree(folder, ignore_errors=True)


def test_killed_at_random_moments(trainer, truth, tally, campaign):
    """Moments of the run's own CPU time, so that how busy the machine is moves none of them."""
    # Here, as a process whose parent has computed less before takes longer.
    assert trainer.finish() == 0, trainer.output
    seconds = trainer.cpu_seconds
    clear()
    enough = KILLS_OF_THE_CAMPAIGN if campaign else KILLS
    rng = np.random.default_rng(0)
    kills = finished = resumed = 0

    def kill_at(moment: float):
        # The signal is not handled, and ends the process as SIGKILL would.
        return lambda: signal.setitimer(signal.ITIMER_PROF, moment)

    # A run is resumed if one is killed late, which a few kills may all miss.
    while (kills < enough or not (finished and resumed)) and kills < 10 * enough:
        more = kills < enough or not resumed
        end = trainer.finish(kill_at(rng.uniform(0, seconds)) if more else None)
        resumed += "Resumed" in trainer.output
        if end == -signal.SIGPROF:
            kills += 1
            trainer.check(truth, complete=False)
            continue
        assert end == 0, trainer.output
        trainer.check(truth, complete=True)
        finished += 1
        clear()
    tally["kills of a run at random moments"] += kills
    assert resumed


def killed_before(trainer, survived: Counter[str], among: str = "*") -> str:
    """The file that an attempt was about to give its name when it was killed, or "" if it ended.

    Of each file it survives so many; those not like the pattern it survives all.
    """

    def before() -> None:
        replace, left = Path.replace, survived.copy()

        def replace_or_die(path, target):
            # A run's own checkpoint and the shared first epoch differ in their folders only.
            name = target.relative_to(paths.ROOT.anchor).as_posix()
            if left[name] == 0 and target.match(among):
                print(name, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            left[name] -= 1
            return replace(path, target)

        Path.replace = replace_or_die

    end = trainer.finish(before)
    assert end in (0, -signal.SIGKILL), trainer.output
    return trainer.output.split()[-1] if end else ""


def test_killed_before_each_file_gets_its_name(trainer, truth, tally):
    """The moments that matter most: pictures, activations, checkpoints, predictions, record.

    Each attempt goes on from what the one before has left, and comes one file further.
    """
    survived: Counter[str] = Counter()
    while file := killed_before(trainer, survived):
        survived[file] += 1
        trainer.check(truth, complete=False)
    trainer.check(truth, complete=True)
    tally["kills of a run before a file had its name"] += survived.total()
    # Images and activations with their checksums, three checkpoints, predictions, record,
    # the best run's weights.
    assert survived.total() == 2 + 2 + 3 + 2 + 1


def test_the_calendar_jumping_back_changes_nothing(trainer, truth, tally, monkeypatch):
    assert killed_before(trainer, Counter(), among="checkpoints/*/*.pt")
    assert list((paths.CACHE / "epochs").rglob("*.pt"))
    future = time.time() + 10**9
    for path in paths.CACHE.rglob("*"):
        os.utime(path, (future, future))
    monkeypatch.setattr(time, "time", lambda: 10**6)
    long_ago = SimpleNamespace(now=lambda zone: datetime(1980, 1, 1, tzinfo=zone))
    monkeypatch.setattr(provenance, "datetime", long_ago)
    assert trainer.finish() == 0, trainer.output
    trainer.check(truth, complete=True)
    assert trainer.recorded()[0].made.finished.startswith("1980")
    assert all(seconds >= 0 for seconds in trainer.recorded()[0].made.seconds.values())
    tally["jumps of the calendar"] += 1
