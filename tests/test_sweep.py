"""`effnet sweep` and `effnet status`: what is missing gets done, once, and is told."""

import json
import os
from itertools import pairwise
from pathlib import Path

import huggingface_hub.constants
import pytest
from copies import left_behind
from factories import save_run
from filelock import FileLock
from rich.console import Console
from sphinx.config import Config

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.model import backbones
from effnet_core.study import records
from effnet_core.study.design import Study
from effnet_core.study.studies import load_study, study_path
from effnet_report.evidence import loader
from effnet_report.evidence.loader import load_design
from effnet_report.jupyter import hub, sphinx_extension
from effnet_report.sweep import command, sweep
from effnet_report.sweep.tasks import tasks_of

FIRST = "results/tiny/21-freeze5-none-plateau-seed0.json"
SECOND = "results/tiny/25-freeze6-none-plateau-seed0.json"
CLASSICAL = "results/tiny/classical-seed0.json"


def test_a_sweep_trains_each_run_once(swept):
    assert "3 of 3 runs to do, 2 side by side" in swept.told
    lines = [line for line in swept.told.splitlines() if line.startswith("[")]
    assert [line.split(",")[0] for line in lines] == ["[1/3", "[2/3", "[3/3"]
    assert all("test" in line and "validation" in line for line in lines)
    made = left_behind(swept.root)
    assert {FIRST, SECOND, CLASSICAL} <= made
    assert len([name for name in made if name.startswith("book/runs/tiny/")]) == 3


def test_a_finished_sweep_is_left_as_it_is(here, swept):
    swept.bring_to(here.root)
    made = {name: (here.root / name).read_bytes() for name in here.files()}
    again = here.run("effnet", "sweep", "tiny")
    assert again.returncode == 0
    assert "All 3 runs of tiny are done" in again.stdout
    now = {name: (here.root / name).read_bytes() for name in here.files()}
    assert now == made

    study = here.root / "studies/tiny.yml"
    study.write_text(study.read_text().replace("epochs: 2", "epochs: 3"))
    changed = here.run("effnet", "sweep", "tiny")
    assert changed.returncode == 1
    assert "epochs 2 -> 3" in changed.stderr


def test_what_has_failed_or_is_damaged_is_taken_up_again(clone, here, swept):
    swept.bring_to(clone.root)
    here.use(clone.root)
    for kind in ("baseline", "classical"):
        for file in clone.root.glob(f"results/tiny/{kind}-*"):
            file.unlink()
    module = clone.root / "effnet_report/baseline/classical.py"
    whole = module.read_text()
    checked = "    _check_compared_since_loading(run)\n"
    assert whole.count(checked) == 1
    module.write_text(whole.replace(checked, '    raise NameError("begin_nowhere")\n'))
    record = clone.root / SECOND
    before = record.read_bytes()
    record.write_bytes(before[:-20])
    assert "1 done, 1 damaged, 1 missing" in here.run("effnet", "status", "tiny").stdout
    failed = clone.run("effnet", "sweep", "tiny")
    assert failed.returncode == 1
    assert f"set aside as {record.name}.damaged" in failed.stdout
    assert "2 of 3 runs to do" in failed.stdout
    assert "begin_nowhere" in failed.stdout
    assert "Traceback" not in failed.stderr
    assert json.loads(record.read_text())["outcome"] == json.loads(before)["outcome"]
    assert "2 done, 1 failed" in here.run("effnet", "status", "tiny").stdout

    left = here.run("effnet", "sweep", "tiny")
    assert left.returncode == 1
    assert "--retry-failed" in left.stdout
    assert "runs to do" not in left.stdout

    module.write_text(whole)
    taken_up = clone.run("effnet", "sweep", "tiny", "--retry-failed")
    assert taken_up.returncode == 0, taken_up.stdout
    assert "1 of 3 runs to do" in taken_up.stdout
    assert "3 done" in here.run("effnet", "status", "tiny").stdout


@pytest.mark.fault("records to be overwritten")
def test_a_record_that_another_sweep_has_trained_again_is_not_set_aside(own_folders, capsys):
    """Two sweeps loaded a damaged record, and read their images at the same time."""
    design = load_study("quick")
    task, *_ = tasks_of(design, "quick")
    save_run(task.settings)
    path = records.record_path("quick", task.run_id)
    path.write_text("{")
    first, second, third = (loader.load("quick", design) for _ in range(3))

    def to_do(loaded) -> list:
        return command._to_do(design, [task], loaded, False, Console(width=200))

    with FileLock(records.lock_path("quick", task.run_id)):
        assert to_do(first) == []
    assert "left out: another process is training it" in capsys.readouterr().out
    assert path.read_text() == "{"
    assert to_do(first) == [task]
    assert to_do(second) == [task]
    predictions = records.predictions_path(path)
    aside, *_ = files = [file.with_name(f"{file.name}.damaged") for file in (path, predictions)]
    assert capsys.readouterr().out == f"Damaged, set aside as {aside.name}\n"
    save_run(task.settings)
    assert to_do(third) == [task]  # `sweep.execute` looks at the record again
    assert [*loader.load("quick", design).believed] == [task.run_id]
    assert {*path.parent.glob("*.damaged*")} == {*files}


def test_a_sweep_with_runs_missing_does_not_succeed(here, swept):
    swept.bring_to(here.root)
    locks = here.root / "results/tiny/.locks"
    locks.mkdir(parents=True, exist_ok=True)
    names = [Path(FIRST).stem, Path(CLASSICAL).stem]
    for name in names:
        (here.root / f"results/tiny/{name}.json").unlink()
    with FileLock(locks / f"{names[0]}.lock"), FileLock(locks / f"{names[1]}.lock"):
        result = here.run("effnet", "sweep", "tiny")
    assert result.returncode == 1
    assert result.stdout.count("is left out: another process is training it") == 2
    assert "2 runs are not done" in result.stdout


def test_a_study_elsewhere_is_known_by_its_name_once_it_is_swept(own_folders, monkeypatch):
    source = own_folders / "elsewhere" / "birds.yml"
    source.parent.mkdir()
    text = (paths.STUDIES / "quick.yml").read_text()
    source.write_text(text.replace("dataset: elpv", "dataset: imagefolder\n  data_dir: ../photos"))
    design = load_study(str(source))
    with pytest.raises(InputError, match="no study 'birds'"):
        load_design("birds")
    sweep.leave_design(design, source)
    assert load_design("birds") == load_study("birds") == design
    with pytest.raises(InputError, match="no study 'published/quick'"):
        load_study("published/quick")
    assert load_design("birds").protocol.data_dir == str(own_folders / "photos")
    config = Config()
    config.add("effnet_studies", ["quick"], "env", list)
    monkeypatch.setenv("EFFNET_STUDY", str(source))
    sphinx_extension.choose_study(None, config)
    assert config.effnet_studies == ["birds"]
    assert sweep.leave_design(design, paths.STUDIES / "birds.yml") is None  # it has moved there
    assert not list(paths.records("birds").iterdir())


@pytest.mark.fault("files of a user")
def test_a_design_beside_its_records_keeps_its_comments(own_folders):
    source = own_folders / "birds.yml"
    source.write_text((paths.STUDIES / "quick.yml").read_text())
    design, place = load_study(str(source)), paths.design("birds")
    sweep.leave_design(design, source)
    commented = place.read_text() + "# Ask Ada about the third camera.\n"
    place.write_text(commented)
    sweep.leave_design(design, source)
    assert place.read_text() == commented
    edited = commented.replace("title: Quick", "title: Very quick")
    assert study_path("birds") == place
    design = load_study("birds")
    place.write_text(edited)  # while the sweep reads the images
    sweep.leave_design(design, place)
    assert place.read_text() == edited
    assert sweep.leave_design(design, source).read_text() == edited
    assert load_study("birds") == design
    place.write_text("seeds: [")
    assert sweep.leave_design(design, source).read_text() == "seeds: ["
    assert load_study("birds") == design
    place.write_text(commented)
    moved = sweep.leave_design(design, paths.STUDIES / "birds.yml")
    assert not place.exists()
    assert moved.read_text() == commented


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    # The same for this process, which may have imported the hub's client.
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # set by the check, and put back afterwards
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))


PAPERMILL = ("papermill", "notebooks/train.ipynb", "x.ipynb", "-p", "study", "hub")


@pytest.mark.parametrize(
    ("where", "command"), [("here", ("effnet", "sweep", "hub")), ("clone", PAPERMILL)]
)
@pytest.mark.usefixtures("no_network")
def test_without_a_network_weights_of_the_hub_are_missed_at_once(where, command, request):
    project = request.getfixturevalue(where)
    study = project.root / "studies" / "tiny.yml"
    name = "tf_efficientnet_lite1.in1k"
    text = study.read_text().replace("weights: none", "weights: hub")
    study.with_name("hub.yml").write_text(text.replace("tinynet_e", name))
    done = project.run(*command)
    assert done.returncode == 1
    assert done.stderr.count(f"weights of {name} could not be fetched from the hub") == 1
    assert "-p weights path/to/model" in done.stderr
    assert "Retrying" not in done.stderr
    assert project.files() == set()


@pytest.mark.parametrize(
    ("factors", "protocol", "wanted"),
    [
        ({"backbone": ["b0", "b1"]}, {"weights": "hub"}, ["b0", "b1"]),
        ({"weights": ["packaged", "hub"]}, {"weights": "packaged", "backbone": "b0"}, ["b0"]),
        ({}, {"weights": "packaged", "backbone": "b0"}, []),
    ],
)
def test_weights_of_the_hub_are_asked_for_as_the_runs_need_them(
    monkeypatch, make_settings, factors, protocol, wanted
):
    asked = []
    monkeypatch.setattr(hub, "_answers", lambda: False)
    monkeypatch.setattr(backbones, "build_network", lambda name, **_: asked.append(name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    ((factor, levels),) = factors.items() or [("seed", [0])]
    hub.check_weights([make_settings().model_copy(update=protocol | {factor: it}) for it in levels])
    assert asked == wanted


def test_what_a_kill_left_half_written_is_removed_wherever_it_is(own_folders, monkeypatch):
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "book/runs")
    task = tasks_of(load_study("quick"), "quick")[0]
    wholes = [
        place("quick", task.run_id)
        for place in (paths.checkpoint, paths.weights, records.record_path)
    ]
    wholes.append(paths.executed("quick") / f"{task.run_id}.ipynb")
    partials = [whole.with_name(f".{whole.name}.12345") for whole in wholes]
    for path in (*wholes, *partials):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sweep.clear_leftovers([task])
    assert all(whole.is_file() for whole in wholes)
    assert not any(partial.exists() for partial in partials)


def test_jobs_follow_the_cores_and_the_threads():
    study = load_study("quick")
    cores = len(os.sched_getaffinity(0))
    assert sweep.automatic_jobs(study) == cores
    threaded = study.protocol.model_copy(update={"threads": 2 * cores})
    assert sweep.automatic_jobs(study.model_copy(update={"protocol": threaded})) == 1


def test_looking_at_a_study_counts_its_runs_once(monkeypatch):
    """Not once a run: a study of many seeds would take the square of their number."""
    asked = []
    runs = Study.runs
    monkeypatch.setattr(Study, "runs", lambda study: asked.append(study) or runs(study))
    study = load_study("quick").model_copy(update={"seeds": list(range(30))})
    assert len(tasks_of(study, "quick")) == 29 * 30
    assert len(asked) < 5


def test_time_left_counts_what_a_run_trains():
    tasks = {task.run_id: task for task in tasks_of(load_study("quick"), "quick")}
    whole = sweep.relative_time(tasks["01-freeze0-none-plateau-seed0"])
    least = sweep.relative_time(tasks["25-freeze6-none-plateau-seed0"])
    assert whole == 7 * least
    assert least < sweep.relative_time(tasks["classical-seed0"]) < whole


@pytest.mark.parametrize("jobs", [1, 2, 3, 6])
def test_order_of_a_sweep(jobs):
    tasks = tasks_of(load_study("quick"), "quick")
    order = sweep.in_order(tasks, jobs)
    assert sorted(task.run_id for task in order) == sorted(task.run_id for task in tasks)
    times = [sweep.relative_time(task) for task in order]
    stage = min(times)
    assert all(later <= first + stage * ((jobs + 1) // 2) for first, later in pairwise(times))
    place = {task.run_id: index for index, task in enumerate(order)}
    for freeze in range(3):  # so many others begin between two that share their first epoch
        plateau = place[f"{4 * freeze + 3:02d}-freeze{freeze}-mlp-plateau-seed0"]
        assert place[f"{4 * freeze + 4:02d}-freeze{freeze}-mlp-cosine-seed0"] == plateau + jobs


def test_on_many_places_the_longest_of_all_seeds_begin_first():
    study = load_study("quick").model_copy(update={"seeds": [0, 1]})
    tasks = tasks_of(study, "quick")
    order = sweep.longest_first(tasks)
    assert sorted(task.run_id for task in order) == sorted(task.run_id for task in tasks)
    times = [sweep.relative_time(task) for task in order]
    assert times == sorted(times, reverse=True)
    first = [task.settings for task in order[:8]]
    assert {(run.freeze, run.seed) for run in first} == {(0, 0), (0, 1)}
    assert [run.scheduler for run in first] == ["plateau"] * 4 + ["cosine"] * 4
