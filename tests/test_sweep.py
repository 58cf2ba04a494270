"""`effnet sweep` and `effnet status`: what is missing gets done, once, and is told."""

import json
import os
import resource
import time
from itertools import pairwise
from pathlib import Path

import pytest
from filelock import FileLock
from sphinx.config import Config

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.loader import load_design
from effnet_core.study.studies import load_study
from effnet_report.jupyter import sphinx_extension
from effnet_report.sweep import sweep
from effnet_report.sweep.tasks import tasks_of

FIRST = "results/tiny/21-freeze5-none-plateau-seed0.json"
SECOND = "results/tiny/25-freeze6-none-plateau-seed0.json"


@pytest.mark.slow
def test_sweep_trains_once_and_heals(clone):
    result = clone.run("effnet", "sweep", "tiny", "--jobs", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 runs to do, 2 side by side" in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("[")]
    assert [line.split(",")[0] for line in lines] == ["[1/3", "[2/3", "[3/3"]
    assert all("test" in line and "validation" in line for line in lines)
    made = {name: (clone.root / name).read_bytes() for name in clone.files()}
    assert {FIRST, SECOND, "results/tiny/classical-seed0.json"} <= set(made)
    assert len([name for name in made if name.startswith("book/runs/tiny/")]) == 3

    again = clone.run("effnet", "sweep", "tiny")
    assert again.returncode == 0
    assert "All 3 runs of tiny are done; nothing to train" in again.stdout
    assert {name: (clone.root / name).read_bytes() for name in clone.files()} == made

    record = clone.root / SECOND
    record.write_bytes(record.read_bytes()[:-20])
    assert "damaged" in clone.run("effnet", "status", "tiny").stdout
    healed = clone.run("effnet", "sweep", "tiny")
    assert healed.returncode == 0
    assert f"set aside as {record.name}.damaged" in healed.stdout
    assert "1 of 3 runs to do" in healed.stdout
    before, after = json.loads(made[SECOND]), json.loads(record.read_text())
    assert after["outcome"] == before["outcome"]

    study = clone.root / "studies/tiny.yml"
    study.write_text(study.read_text().replace("epochs: 2", "epochs: 3"))
    changed = clone.run("effnet", "sweep", "tiny")
    assert changed.returncode == 1
    assert "epochs 2 -> 3" in changed.stderr


@pytest.mark.slow
def test_a_failed_run_is_told_and_taken_up_again(clone):
    notebook = clone.root / "notebooks/classical.ipynb"
    kept = notebook.read_text()
    notebook.write_text(kept.replace("run.begin", "run.begin_nowhere"))
    result = clone.run("effnet", "sweep", "tiny", "--jobs", "2")
    assert result.returncode == 1
    assert "failed" in result.stdout
    assert "begin_nowhere" in result.stdout
    assert "Traceback" not in result.stderr
    assert "2 done, 1 failed" in clone.run("effnet", "status", "tiny").stdout

    still = clone.run("effnet", "sweep", "tiny")
    assert still.returncode == 1
    assert "--retry-failed" in still.stdout
    notebook.write_text(kept)
    taken_up = clone.run("effnet", "sweep", "tiny", "--retry-failed")
    assert taken_up.returncode == 0, taken_up.stdout
    assert "3 done" in clone.run("effnet", "status", "tiny").stdout


def test_a_sweep_with_runs_missing_does_not_succeed(clone):
    locks = clone.root / "results/tiny/.locks"
    locks.mkdir(parents=True)
    with FileLock(locks / f"{Path(FIRST).stem}.lock"), FileLock(locks / "classical-seed0.lock"):
        result = clone.run("effnet", "sweep", "tiny")
    assert result.returncode == 1
    assert result.stdout.count("is being trained by another process: left to it") == 2
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
    sweep.leave_design(design, paths.STUDIES / "birds.yml")  # it has moved there
    assert not paths.design("birds").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("effnet", "sweep", "hub"),
        ("papermill", "notebooks/train.ipynb", "x.ipynb", "-p", "study", "hub"),
    ],
)
def test_without_a_network_weights_of_the_hub_are_missed_at_once(clone, command, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_HOME", str(clone.root / "empty"))
    study = clone.root / "studies" / "tiny.yml"
    hub = study.with_name("hub.yml")
    name = "tf_efficientnet_lite1.in1k"
    text = study.read_text().replace("weights: none", "weights: hub")
    hub.write_text(text.replace("tinynet_e", name))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = clone.run(*command)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1
    assert done.stderr.count(f"weights of {name} could not be fetched from the hub") == 1
    assert "-p weights path/to/model" in done.stderr
    assert "Retrying" not in done.stderr
    assert spent.ru_utime - used.ru_utime < 10
    assert clone.files() == set()


def test_jobs_follow_the_cores_and_the_threads():
    study = load_study("quick")
    cores = len(os.sched_getaffinity(0))
    assert sweep.automatic_jobs(study) == cores
    threaded = study.protocol.model_copy(update={"threads": 2 * cores})
    assert sweep.automatic_jobs(study.model_copy(update={"protocol": threaded})) == 1


def test_looking_at_many_seeds_takes_so_many_times_as_long_and_no_more():
    def seconds(seeds: int) -> float:
        study = load_study("quick").model_copy(update={"seeds": list(range(seeds))})
        start = time.process_time()
        assert len(tasks_of(study, "quick")) == 29 * seeds
        return time.process_time() - start

    few, many = (min(seconds(count) for _ in range(3)) for count in (30, 150))
    assert many < 12 * few  # 5 times, not 25


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
