"""A record names the code that ran, and what was computed by other code is computed again."""

import sys

import numpy as np
import pytest
from factories import SMALL, train

import effnet_core
from effnet_core import paths, run
from effnet_core.errors import InputError
from effnet_core.study import provenance, records
from effnet_core.study.code import code_fingerprint


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Lets a test change the package's sources: a copy of them stands for the disk."""
    monkeypatch.setattr(effnet_core, "ROOT", tmp_path / "root")
    for name, text in effnet_core.SOURCES.items():
        place = tmp_path / "root" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    return lambda name: tmp_path / "root" / name


def begun():
    this = run.begin(SMALL)
    return this, *run.steps(this)


@pytest.mark.slow
@pytest.mark.fault("code edited during a run")
@pytest.mark.parametrize(
    "name",
    [
        "effnet_core/model/freezing.py",
        "effnet_core/study/records.py",
        "effnet_core/model/new.py",
        "effnet_report/baseline/classical.py",
    ],
)
def test_code_that_changes_while_a_run_trains_leaves_no_record(own_folders, source, name):
    steps = begun()
    source(name).write_bytes(effnet_core.SOURCES.get(name, b"") + b"# another word\n")
    with pytest.raises(InputError, match=f"{name} changed on the disk.*Nothing was recorded"):
        run.record(*steps)
    steps[0].lock.release()
    assert not list(paths.RESULTS.rglob("*.json"))
    with pytest.raises(InputError, match="changed on the disk"):  # nor is another one trained
        train(**SMALL | {"freeze": 5})
    assert not list(paths.RESULTS.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.fault("code edited during a run")
def test_a_package_that_is_updated_meanwhile_leaves_no_record(own_folders, monkeypatch):
    steps = begun()
    newer = provenance.versions() | {"timm": "9"}
    monkeypatch.setattr(provenance, "versions", lambda: newer)
    with pytest.raises(InputError, match=r"^timm changed on the disk"):
        run.record(*steps)
    steps[0].lock.release()


def test_the_fingerprint_is_of_the_code_that_was_imported(source):
    before = code_fingerprint("run")
    source("effnet_core/run.py").write_text("raise SystemExit")
    assert code_fingerprint("run") == before


@pytest.mark.slow
@pytest.mark.fault("stale activations")
def test_activations_of_other_code_are_not_used(own_folders, monkeypatch):
    first = train(**SMALL | {"freeze": 6})
    kept = set((paths.CACHE / "prefix").glob("*.npy"))
    assert kept
    name = "effnet_core/model/freezing.py"
    monkeypatch.setitem(effnet_core.SOURCES, name, effnet_core.SOURCES[name] + b"EPSILON = 0.5\n")
    monkeypatch.setattr(run, "check_unchanged", lambda: None)
    records.record_path(first.settings.study, first.run_id).unlink()
    train(**SMALL | {"freeze": 6})
    assert set((paths.CACHE / "prefix").glob("*.npy")) > kept
    images = set((paths.CACHE / "images").glob("*.npy"))
    name = "effnet_core/data/images.py"
    changed = effnet_core.SOURCES[name].replace(b"Resampling.BICUBIC", b"Resampling.BILINEAR")
    monkeypatch.setitem(effnet_core.SOURCES, name, changed)
    train(**SMALL | {"freeze": 5})
    assert set((paths.CACHE / "images").glob("*.npy")) > images


def test_time_before_an_interruption_counts_once(monkeypatch):
    """A step that is repeated in one kernel resumes from the same checkpoint again."""
    monkeypatch.setattr(provenance, "_now", lambda: np.array([100.0, 50.0]))
    clock = provenance.Clock()
    for _ in range(3):
        with clock.phase("train"):
            clock.resume("train", np.array([20.0, 10.0]), "2026-01-01T00:00:00+00:00")
    assert clock.made().seconds == {"train": 20.0, "total": 20.0}
    assert clock.made().cpu_seconds == {"train": 10.0, "total": 10.0}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the peak")
def test_a_run_has_not_the_memory_of_an_earlier_one_in_its_process():
    first = provenance.Clock()
    large = np.ones(5 * 10**7)  # 400 MB
    del large
    needed = first.made().peak_memory_mb
    assert provenance.Clock().made().peak_memory_mb < needed - 300
