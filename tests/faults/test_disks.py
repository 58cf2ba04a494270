"""Full disks, folders that can only be read, and bits that turned over."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from factories import read_all, write_study
from typer.testing import CliRunner

from effnet_core import cache, files, paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report import cli
from effnet_report.sweep import sweep
from effnet_report.sweep.tasks import tasks_of

pytestmark = pytest.mark.slow


def test_no_room_for_the_record(trainer, truth, tally, small_disk, monkeypatch):
    monkeypatch.setattr(files, "ROOM", 1)  # the disk fills up while the run is trained
    results = small_disk(paths.RESULTS, "size=8k,nr_inodes=20")
    assert trainer.finish() == 1
    assert "epoch 3/3" in trainer.output
    assert "InputError: Cannot write" in trainer.output
    assert "free some space" in trainer.output
    trainer.check(truth, complete=False)
    subprocess.run(["mount", "-o", "remount,size=1m", str(results)], check=True)
    assert trainer.finish() == 0
    assert "Resumed after epoch 3" in trainer.output  # nothing was trained twice
    trainer.check(truth, complete=True)
    tally["full disks"] += 1


ONLY_SAVES_TIME = {
    "checkpoints": "No checkpoint of this epoch",
    "prefix": "Activations are computed again, not cached",
}


@pytest.mark.parametrize("folder", ONLY_SAVES_TIME)
def test_no_room_for_what_only_saves_time(trainer, truth, tally, small_disk, folder):
    small_disk(paths.CACHE / folder, "size=64k")
    assert trainer.finish() == 0, trainer.output
    assert ONLY_SAVES_TIME[folder] in trainer.output
    trainer.check(truth, complete=True)
    tally["full disks"] += 1


def test_no_room_for_the_images(trainer, truth, tally, small_disk):
    images = small_disk(paths.CACHE / "images", "size=1m")
    assert trainer.finish() == 1
    assert "InputError: Cannot keep 0.01 GB of decoded images" in trainer.output
    assert not [path for path in images.iterdir() if path.suffix != ".lock"]
    trainer.check(truth, complete=False)
    tally["full disks"] += 1


def test_results_that_can_only_be_read(trainer, truth, tally, small_disk):
    small_disk(paths.RESULTS, "ro")
    assert trainer.finish() == 1
    assert "InputError: Cannot write" in trainer.output
    assert "Make the folder writable" in trainer.output
    tally["folders that can only be read"] += 1


def test_a_cache_that_can_only_be_read(trainer, truth, tally, small_disk):
    folder = small_disk(paths.CACHE, "size=100m")
    assert trainer.finish() == 0, trainer.output
    trainer.check(truth, complete=True)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert trainer.finish() == 0, trainer.output
    assert "No checkpoint of this epoch" in trainer.output
    trainer.check(truth, complete=True)
    small_disk(paths.CACHE, "ro")
    assert trainer.finish() == 1
    assert "InputError: Cannot keep" in trainer.output
    tally["folders that can only be read"] += 2


COMMANDS = {
    "sweep": "Cannot write in",
    "publish": "Cannot publish quick|Cannot write in",
    "verify": "Cannot write in",
    "new": "Cannot write in",
    "cache": "cannot be deleted",
}


@pytest.fixture(params=["folders that can only be read", "full disks"])
def stuck(request, own_folders, small_disk, monkeypatch) -> str:
    """Nothing more can be written to a study that lacks one run; how that came."""
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "runs")
    for folder in (paths.RESULTS, paths.CACHE):
        small_disk(folder, "size=4m")
    write_study("quick")
    (paths.CACHE / "images").mkdir()
    (paths.CACHE / "images/x.npy").write_bytes(b"x")
    records.record_path("quick", "01-freeze0-none-plateau-seed0").unlink()
    for folder in (paths.RESULTS, paths.CACHE):
        if request.param == "full disks":
            (folder / "full").write_bytes(bytes(shutil.disk_usage(folder).free - 2**17))
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    return request.param


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_looks_first_whether_it_can_write(own_folders, tally, stuck, command):
    if command == "cache" and stuck == "full disks":
        pytest.skip("deleting needs no room")
    before = {path for path in own_folders.rglob("*") if path.is_file()}
    more = {"new": ["--images", str(own_folders)], "cache": ["--clear"]}
    name = {"new": ["another"], "cache": []}.get(command, ["quick"])
    done = CliRunner().invoke(cli.app, [command, *name, *more.get(command, [])])
    assert isinstance(done.exception, InputError), done
    assert re.search(COMMANDS[command], str(done.exception))
    assert "Deleted" not in done.output
    assert {path for path in own_folders.rglob("*") if path.is_file()} == before
    assert CliRunner().invoke(cli.app, ["status", "quick"]).exit_code == 0
    tally[stuck] += 1


def test_the_cache_on_another_disk_loses_no_notebook(own_folders, tally, small_disk, monkeypatch):
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "runs")
    small_disk(paths.CACHE, "size=1m")
    (task, *_) = tasks_of(load_study("quick"), "quick")

    def run(_, output):
        output.write_text("a notebook")
        return ""

    assert sweep._executed(task, SimpleNamespace(run=run), sweep.Stop()) == ""
    place = paths.executed("quick") / f"{task.run_id}.ipynb"
    assert place.read_text() == "a notebook"
    assert list(place.parent.iterdir()) == [place]
    tally["caches on another disk"] += 1


@pytest.mark.parametrize("kind", ["images", "prefix"])
def test_damaged_caches_heal(trainer, truth, tally, kind, campaign):
    assert trainer.finish() == 0
    rng = np.random.default_rng(0)
    (path,) = (paths.CACHE / kind).glob("*.npy")
    checksums = cache.checksums_path(path)
    damages = [(path, 1.0), (checksums, 1.0), (path, 0.5), (checksums, 0.5)]
    for file, left in damages if campaign else damages[:3]:
        data = bytearray(file.read_bytes())
        for place in rng.integers(200, len(data), 500):
            data[place] ^= 1 << rng.integers(8)
        file.write_bytes(data[: int(left * len(data))])
        assert trainer.finish() == 0, trainer.output
        trainer.check(truth, complete=True)
        tally["damaged caches"] += 1


def test_every_damage_of_a_record_is_noticed(trainer, truth, tally):
    assert trainer.finish() == 0
    path = records.record_path(truth.settings.study, truth.run_id)
    rng = np.random.default_rng(0)
    for file in (path, records.predictions_path(path)):
        whole = file.read_bytes()
        damages = [whole[:length] for length in rng.integers(0, len(whole) - 1, 60)]
        for place, bit in rng.integers((len(whole) - 1, 8), size=(240, 2)):
            flipped = bytes([whole[place] ^ 1 << bit])
            damages.append(whole[:place] + flipped + whole[place + 1 :])
        for damaged in damages:
            file.write_bytes(damaged)
            found, told = read_all(truth.settings.study)
            # A flipped bit in the white space of JSON may leave the statement as it was.
            unharmed = [r.model_copy(update={"made": truth.made}) for r in found] == [truth]
            assert len(told) == 1 or unharmed
            tally["false"] += bool(found) and not unharmed
            tally["damaged records"] += 1
        file.write_bytes(whole)
    assert tally["false"] == 0
    trainer.check(truth, complete=True)


def test_a_site_that_does_not_fit_is_not_begun(small_disk, tmp_path):
    build = small_disk(tmp_path / "build", "size=8m")
    program = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run(
        [program, "build", "-q", str(paths.BOOK), "--path-output", str(build)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"{build}/_build/html has room for 8 MB")
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(path.is_file() for path in build.rglob("*"))
