"""The command `effnet` around the sweep: help, status, plan, publish, bad input."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from factories import fingerprints, made_up, save_run
from PIL import Image

from effnet_core import paths
from effnet_core.data.datasets import imagefolder
from effnet_core.errors import InputError
from effnet_core.study.studies import load_study
from effnet_report import cli
from effnet_report.evidence import failures, loader
from effnet_report.sweep import tell
from effnet_report.sweep.sweep import check_images
from effnet_report.sweep.tasks import State


def test_help_names_every_command(clone):
    """A process of its own; the other tests call what it calls."""
    text = clone.run("effnet", "--help").stdout
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert {name for name in known if f" {name} " not in text} == set()


def test_status_of_nothing_is_a_grid_of_28(here):
    result = here.run("effnet", "status", "quick")
    rows = re.findall(
        r"│\s+(\d+)\s+│\s+(\d)\s+│\s+(none|mlp)\s+│\s+(plateau|cosine)", result.stdout
    )
    assert [int(row[0]) for row in rows] == list(range(1, 29))
    assert "29 missing" in result.stdout


@pytest.mark.fault("names that are markup")
def test_a_title_with_markup_of_the_terminal_is_shown_as_it_is(here):
    study = here.root / "studies/tiny.yml"
    study.write_text(study.read_text().replace("Two configurations", "'Two [/red] [bold]'"))
    study.write_text(study.read_text().replace("' of a few digits", " of a few digits'"))
    result = here.run("effnet", "status", "tiny")
    assert result.returncode == 0, result.stderr
    assert "Two [/red] [bold] of a few digits" in result.stdout


@pytest.mark.slow
def test_plan_counts_and_starts_nothing(here):
    result = here.run("effnet", "plan", "tiny")
    assert result.returncode == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "2 runs on cpu" in told
    parts = re.search(r"(\d+) training, (\d+) validation and (\d+) test images", told).groups()
    assert sum(map(int, parts)) == 120
    first, second = (float(x) for x in re.findall(r"│ (\d+\.\d+) M", result.stdout))
    assert first > second
    assert here.files() == set()


@pytest.mark.parametrize("command", ["sweep", "status", "plan", "publish"])
def test_unknown_study(here, command):
    result = here.run("effnet", command, "qick")
    assert result.returncode == 1
    assert "did you mean 'quick'" in result.stderr
    assert "Traceback" not in result.stderr


def test_publish_needs_records(here):
    result = here.run("effnet", "publish", "quick")
    assert result.returncode == 1
    assert "no records" in result.stderr


def own_images(here, bad=()):
    """A study of two classes of 30 images each, some of which are none."""
    for place in range(60):
        folder = here.root / "photos" / ("bright" if place % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (16, 16), (place, 200 * (place % 2), place))
        image.save(folder / f"{place}.png")
    for name in bad:
        (here.root / "photos" / name).write_bytes(b"no image")
    study = (here.root / "studies/tiny.yml").read_text()
    own = "dataset: imagefolder, data_dir: ../photos"
    (here.root / "studies/own.yml").write_text(
        study.replace("dataset: digits, max_images: 120", own)
    )


@pytest.mark.fault("studies of bad images")
def test_bad_images_are_all_told_before_anything_runs_and_nothing_is_remembered(here, clear):
    bad = ["dark/0.png", "bright/7.png", "dark/58.png"]
    own_images(here, bad)
    result = here.run("effnet", "sweep", "own")
    assert result.returncode == 1
    told = clear("".join(result.stderr.splitlines()))
    assert all(name in told for name in bad), told
    assert told.count("Replace it, or move it out of the data folder") == 3
    assert "3 of 60 images are unreadable" in told
    assert here.files() == set()
    own_images(here)
    assert "3 missing" in here.run("effnet", "status", "own").stdout


@pytest.mark.fault("images changed during a study")
def test_a_study_goes_on_only_with_the_images_it_began_with(own_folders, monkeypatch):
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "runs")
    quick = load_study("quick")
    protocol = quick.protocol.model_copy(update={"dataset": "digits", "image_size": 32})
    design = quick.model_copy(update={"protocol": protocol})
    save_run(next(design.runs()))  # from images that nobody has
    with pytest.raises(InputError, match=r"not those that its 1 records were made from. Put"):
        check_images(design, loader.load("quick", design))
    check_images(design, loader.load("quick", design.model_copy(update={"name": "another"})))


def test_status_shows_the_measure_by_which_the_study_selects(capsys):
    cli.status("quick")
    assert "Per cent: accuracy on test images" in capsys.readouterr().out
    loaded = loader.load("published/quick")
    run_id, record = next(iter(loaded.believed.items()))
    settings = record.settings.model_copy(update={"criterion": "balanced_accuracy"})
    loaded.believed[run_id] = record.model_copy(update={"settings": settings})
    shown = tell._cell(run_id, {run_id: State.DONE}, loaded)
    assert f" {record.outcome.test.recall:.1f} %" in shown
    assert f" {record.outcome.test.accuracy:.1f} %" not in shown


def test_status_of_published_records_is_not_that_of_the_runs_here(here):
    there = Path(__file__).parents[1] / "results/published/quick"
    shutil.copytree(there, paths.records("published/quick"))
    missing = next(paths.records("published/quick").glob("07-*.json"))
    missing.unlink()
    failures.save("quick", missing.stem, "It was stopped.", "x.ipynb")
    result = here.run("effnet", "status", "published/quick")
    assert "28 done, 1 missing" in result.stdout, result.stderr
    assert "stopped" not in result.stdout


def test_status_reads_the_images_as_the_study_does(tmp_path):
    for name in ("1.png", "2.png", "3.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label,set\n1.png,a,I\n2.png,b,II\n3.png,b,II\n")  # objects, no parts
    design = SimpleNamespace(
        protocol=SimpleNamespace(data_dir=None, labels=str(labels), groups="set")
    )
    seen = []
    loaded = SimpleNamespace(design=design, believed=[1], check_images=seen.append)
    tell._check_images(loaded, cli.console)
    assert seen == [imagefolder(None, str(labels), "set").fingerprint]


@pytest.mark.fault("studies made again under their name")
def test_status_counts_no_records_of_other_images(here, monkeypatch):
    own_images(here)
    study = here.root / "studies/own.yml"
    study.write_text(study.read_text().replace("epochs: 2", "epochs: 4"))
    design = load_study(str(study))
    save_run(next(design.runs()))  # from images that nobody has
    result = here.run("effnet", "status", "own")
    assert result.returncode == 1
    assert "not those that its 1 records were made from" in result.stderr
    assert "1 done" not in result.stdout
    photos = here.root / "photos"
    fingerprint = imagefolder(str(photos)).fingerprint
    made = fingerprints(0).model_copy(update={"data": fingerprint})
    monkeypatch.setattr("factories.fingerprints", lambda _: made)
    made_up.cache_clear()
    save_run(next(design.runs()))
    assert "1 done" in here.run("effnet", "status", "own").stdout
    photos.rename(photos.with_name("moved"))
    told = here.run("effnet", "status", "own").stdout
    assert "1 done" in told
    assert "The images cannot be compared with the records" in told


@pytest.mark.fault("images in two parts")
def test_equal_images_are_told_when_a_study_begins(here):
    own_images(here)
    dark = here.root / "photos" / "dark"
    (dark / "twin.png").write_bytes((dark / "0.png").read_bytes())
    design = load_study(str(here.root / "studies/own.yml"))
    told = check_images(design, loader.load("own", design))
    assert told.startswith("1 of 61 images have the same pixels as another")
    assert "dark/twin.png = dark/0.png" in told
    (dark / "twin.png").unlink()
    assert check_images(design, loader.load("own", design)) == ""


LACKS_MEMORY = [
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes"),
    MemoryError("Unable to allocate 7 TiB for an array"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB"),
]


@pytest.mark.parametrize("error", LACKS_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_told_in_one_sentence(here, clear, monkeypatch, error):
    def app():
        raise error

    monkeypatch.setattr(cli, "app", app)
    result = here.run("effnet", "plan", "tiny")
    assert result.returncode == 1
    assert f"too little memory ({error})" in clear(result.stderr)


@pytest.mark.parametrize(
    "options",
    [
        ("predict", "quick", "x.png", "--json", "--csv"),
        ("verify", "quick", "--run", "01-freeze0-none-plateau-seed0", "--sample", "2"),
    ],
)
def test_options_that_exclude_each_other_are_refused(here, clear, options):
    result = here.run("effnet", *options)
    assert result.returncode == 1
    assert "exclude each other" in clear(result.stderr)


def test_other_errors_of_the_program_show_a_traceback(here, monkeypatch):
    def app():
        raise RuntimeError("of the program itself")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(RuntimeError):
        here.run("effnet", "plan", "tiny")


def test_a_command_starts_without_what_it_does_not_use():
    """`effnet status` is typed often: PyTorch, Jupyter and pandas take most of a second or more."""
    slow = {"torch", "jupyter_client", "nbformat", "pandas", "fsspec"}
    code = f"import sys; import effnet_report.cli; sys.exit(' '.join({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
