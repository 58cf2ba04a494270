"""The benchmark: its peers train for real, its numbers are those of its measurements."""

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate, groupby

import nbformat
import pytest
import torch
from factories import use_folders

from bench import __main__ as bench_main
from bench import arms, expert, peers, start
from bench import recipes as bench_recipes
from bench.__main__ import ARMS
from bench.summary import SEEDED, summary
from effnet_core import paths, processor, run
from effnet_core.study.studies import load_study, read_settings
from effnet_report.evidence import clock
from effnet_report.measurements.speed import Benchmark, Measurement, benchmark
from effnet_report.pages import speed, speed_details

FOUND = {
    "complete": {"seconds": 90.0, "accuracy": {"a": 80.0, "b": 82.0}},
    "expert": {"seconds": 100.0, "accuracy": {"a": 80.0, "b": 80.0}},
    "limit": {"measured": 0.1, "arithmetic": 0.04, "memory": 0.02},
    "ours": {"seconds": 100.0, "fixed_seconds": 0.7, "accuracy": {"a": 80.0, "b": 82.0}},
    "peer": {"seconds": 400.0, "accuracy": {"a": 79.0, "b": 81.0}},
    "depth": {
        **{"computed": 10.0, "first": 8.0, "later": 6.0},
        **{"speedup": 1.5, "ceiling": 2.0, "kept": True, "equal": True},
    },
    "step": {
        **{"efficiency": 0.3, "product_gflops": 90.0, "images_per_second": 60.0},
        **{"step_seconds": 0.1, "peak_memory_mb": 900.0},
    },
    "instructions": {str(n): {"portable": 0.12 + n / 100, "native": 0.1} for n in range(7)},
    "growth": {"seconds": 10.0, "fixed_seconds": 3.0, "peak_memory_mb": 900.0},
    "typed": {"fixed_seconds": 9.0},
    "start": {
        "sweep": {"command": 1.0, "kernel": 4.0, "cells": 0.5, "all": 5.5},
        "typed": {"command": 2.0, "kernel": 3.0, "cells": 0.7, "all": 5.7},
    },
    "book": {
        **{"clean_seconds": 40.0, "rebuild_seconds": 20.0},
        **{"run_pages": 28, "first_page_kb": 400.0},
    },
    "recipe": {"cpu_seconds": 100.0, "validation": 80.0, "accuracy": 80.0},
}


def measurements(turns: int = 3) -> Iterator[Measurement]:
    """As the benchmark leaves them; each turn of the machine is slower than the one before."""
    for turn in range(turns):
        for arm in ARMS:
            found = dict(FOUND.get(arm.split()[0], {}))
            if arm.startswith(SEEDED) and "seconds" in found:
                found["seconds"] *= 1 + turn
            if arm.startswith("recipe"):
                found = as_accurate_as_long_trained(*arm.split()[3:])
            if arm.startswith("elpv"):
                found = {"ours": 6.0 + int(arm.split()[1]) / 2, "expert": 10.0}
            if arm.startswith("growth"):
                found["seconds"] *= int(arm.split()[1]) / 320
            yield Measurement(turn=turn, arm=arm, commit="abc", found=found)


def kind(measurement: Measurement) -> str:
    return measurement.arm.split()[0]


def as_accurate_as_long_trained(tool: str, *numbers: str) -> dict[str, float]:
    """What a recipe reaches in these tests: ours needs half of the time of the others."""
    epochs = int(numbers[-1]) if numbers else 1
    slower = 1 if tool == "ours" else 2
    accuracy = 80.0 + min(epochs, 8)
    seconds = 50.0 * slower * epochs
    return {"cpu_seconds": seconds, "validation": accuracy, "accuracy": accuracy}


def written(monkeypatch, tmp_path, measured) -> Benchmark:
    use_folders(tmp_path, monkeypatch)
    origin = {"versions": {"torch": "1"}, "machine": {"cores": "2"}}
    summary(measured).model_copy(update=origin).save()
    return benchmark()


def test_a_ratio_is_taken_within_a_turn():
    found = summary(list(measurements()))
    assert found.turns == 3
    ratio = found.sweep.against_peers["plain"]
    assert (ratio.low, ratio.median, ratio.high) == (0.25, 0.25, 0.25)
    seconds = found.sweep.trainings
    assert (seconds.low, seconds.median, seconds.high) == (100.0, 200.0, 300.0)
    assert found.sweep.accuracy.median - found.sweep.plain_accuracy.median == 1.0
    assert found.kept[6].speedup.median / found.kept[6].ceiling.median == 0.75
    assert found.steps_ratio.median == 1.0
    assert found.overhead.median == 0.7


def test_what_was_not_measured_is_not_there():
    only = [one for one in measurements() if one.arm == "ours all"]
    found = summary(only)
    assert found.sweep.against_peers == {}
    assert found.sweep.trainings.median == 200.0
    assert found.kept == {}
    assert found.overhead_typed is None
    assert summary([]).turns == 0


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_can_be_called(arm):
    name, *arguments = arm.split()
    seeded = name in SEEDED
    inspect.signature((arms.ARMS | {"start": start.start})[name]).bind(
        *arguments, *(["0"] if seeded else [])
    )
    if name == "peer":
        assert arguments[0] in peers.PEERS
    if name == "recipe":
        study, side, tool, *_ = arguments
        assert tool in bench_recipes.TOOLS
        assert bench_recipes.settings_of(study, int(side), 1).image_size == int(side)
    elif name in ("ours", "peer"):
        chosen = arms.runs(arguments[-1], "1")
        assert len(chosen) == (28 if arguments[-1] == "all" else 4)
        assert {settings.seed for settings in chosen} == {1}


def test_recipes_are_compared_at_equal_time_and_at_equal_accuracy(monkeypatch, tmp_path):
    page = speed.recipes(written(monkeypatch, tmp_path, list(measurements()))).data
    # After 60 s ours has one epoch and others nothing; the probe's accuracy comes first after 100.
    assert "at 5 of 5 time limits" in page
    assert "best fastai training in 40 % of its CPU time" in page  # 8 epochs of 50 s, 10 of 100
    without = [one for one in measurements() if "ours" not in one.arm]
    assert "at 0 of 5" in speed.recipes(written(monkeypatch, tmp_path, without)).data
    without = [one for one in measurements() if "fastai" not in one.arm]
    page = speed.recipes(written(monkeypatch, tmp_path, without)).data
    assert "On solar cells, fastai, fine_tune is not measured yet" in page
    assert "time limits" not in page


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["ours 6 1", "fastai 1", "keras 1", "probe"])
def test_a_recipe_trains_and_is_judged_on_our_test_images(tool, own_folders, monkeypatch):
    if tool.startswith("fastai"):
        pytest.importorskip("fastai", reason="needs fastai: pip install '.[recipes]'")
    monkeypatch.setattr(paths, "STUDIES", paths.ROOT / "studies")
    monkeypatch.setattr(bench_recipes, "OURS", bench_recipes.OURS | {"max_images": 64})
    monkeypatch.setattr(processor, "use", lambda _: "")  # PyTorch has begun to compute here
    point = bench_recipes.trained("elpv", "96", *tool.split(), "0")
    assert point["cpu_seconds"] > 0
    split = bench_recipes.Images(bench_recipes.settings_of("elpv", 96, 0)).split
    for name, part in (("validation", split.validation), ("accuracy", split.test)):
        right = point[name] * len(part) / 100
        assert right == pytest.approx(round(right))


@pytest.mark.slow
@pytest.mark.parametrize("peer", peers.PEERS)
def test_peers_train(peer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = {"dataset": "digits", "max_images": 64, "image_size": 32, "weights": "none"}
    settings = read_settings({"study": "quick", "freeze": 6, "epochs": 2} | tiny)
    first, again = peers.PEERS[peer](settings), peers.PEERS[peer](settings)
    assert 0 <= first <= 100
    assert first == again
    if peer == "torchcache":
        assert any(kept.is_file() for kept in (tmp_path / "torchcache").rglob("*"))


@pytest.mark.slow
def test_the_expert_trains_what_we_train(own_folders, tmp_path, monkeypatch):
    """In memory and in one loop, and to the same test accuracy: the images come in our order."""
    study = tmp_path / "tiny.yml"
    study.write_text(
        "{title: Tiny, seeds: [3], factors: {freeze: [5, 0], head: [none], scheduler: [cosine]},"
        " protocol: {dataset: digits, max_images: 90, image_size: 32, weights: none, epochs: 2,"
        " learning_rate: [1.0e-3, 3.0e-3], norm_statistics: pretrained, early_stop_patience: 2}}"
    )
    # Here both compute with whatever this process does.
    monkeypatch.setattr(processor, "use", lambda _: "")
    found = expert.train_all(str(study))
    # Our convolutions take other routes, which differ in the last bits.
    usual = {"memory_format": torch.channels_last}
    monkeypatch.setattr(
        run, "move_to_device", lambda network, device: network.to(device).to(**usual)
    )
    ours = {one.run_id: run.repeat(one)[0] for one in load_study(str(study)).runs()}
    assert found == {name: record.outcome.test.accuracy for name, record in ours.items()}
    assert expert.train_one(next(load_study(str(study)).runs())) > 0


def test_what_changed_is_measured_again_and_nothing_else(monkeypatch, tmp_path):
    for folder in ("bench", "effnet_core", "effnet_report"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(paths.ROOT / folder, tmp_path / folder, ignore=without)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    def kinds_changed(name: str, old: str = "", new: str = "x = 1\n") -> set[str]:
        file = tmp_path / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new) if old else text + new)
        now = {arm: bench_main.fingerprint(arm) for arm in ARMS}
        file.write_text(text)
        return {arm.split()[0] for arm in ARMS if now[arm] != before[arm]}

    bench_main._in_git.cache_clear()
    before = {arm: bench_main.fingerprint(arm) for arm in ARMS}
    sweeps = {"complete", "ours", "typed", "start", "book"}
    records = {*sweeps, "growth"}
    steps = {"step", "limit", "instructions"}
    trainings = {*records, "peer", "expert", "elpv", "depth", "recipe"}
    assert kinds_changed("bench/peers.py") == {"peer"}
    assert kinds_changed("bench/start.py", "ONE = {", "ONE = {} | {") == {"start"}
    assert kinds_changed("bench/arms.py", "LARGE_EPOCHS = 4", "LARGE_EPOCHS = 5") == {"elpv"}
    step = "validation=evaluations", "validation=None and evaluations"
    assert kinds_changed("effnet_core/run.py", *step) == records
    assert kinds_changed("effnet_core/run.py", "data.split.train,", "data.split.test,") == trainings
    prefix = "effnet_core/model/prefix.py"
    assert kinds_changed(prefix, "freeze + 1", "freeze + 2") == {*trainings, *steps}
    assert kinds_changed(prefix) == records
    assert kinds_changed("effnet_core/cache.py") == trainings
    assert kinds_changed("effnet_core/run.py", new='"""Only words."""') == set()
    assert kinds_changed("effnet_core/data/headers.py") == records
    assert kinds_changed("effnet_core/data/layout/walk.py") == set()  # no study names folders
    assert kinds_changed("effnet_report/pages/speed.py") == {"book"}
    for name in ("cli.py", "pages/run_page.py", "sweep/sweep.py"):
        assert kinds_changed(f"effnet_report/{name}") == sweeps
    bench_main._in_git.cache_clear()


def test_older_measurements_stay_until_they_are_repeated(monkeypatch, tmp_path):
    old = list(measurements(turns=1))
    there = written(monkeypatch, tmp_path, old)
    monkeypatch.setattr(bench_main, "versions", lambda: there.versions)
    monkeypatch.setattr(bench_main, "hardware", lambda: there.machine)
    monkeypatch.setattr(bench_main, "fingerprint", lambda _: "now")
    monkeypatch.setattr(bench_main, "measure", lambda arm, _: FOUND[arm])
    for repeats in (1, 2):
        bench_main.main(repeats=repeats, only="complete")
        now = benchmark().measurements
        repeated = [m for m in now if m.of == "now"]
        assert [(m.turn, m.arm) for m in repeated] == [(n, "complete") for n in range(repeats)]
        assert [m for m in now if m not in repeated] == [m for m in old if m.arm != "complete"]
        assert "complete" in speed_details.machine(benchmark()).data
    monkeypatch.setattr(bench_main, "hardware", lambda: {"cores": "64"})
    bench_main.main(repeats=1, only="complete")
    assert [m.arm for m in benchmark().measurements] == ["complete"]


PARTS = [speed.answer, speed.expert, speed.design, speed.depths]
DETAILS = [
    speed_details.answer, speed_details.targets, speed_details.steps, speed_details.limits,
    speed_details.instructions, speed_details.start, speed_details.growth, speed_details.machine,
]  # fmt: skip


def test_the_speed_page_says_what_was_met(monkeypatch, tmp_path):
    beside_training = speed_details.beside_training().data  # of the runs that are published
    bench = written(monkeypatch, tmp_path, list(measurements()))
    shown = speed_details.targets(bench).data
    assert "8 of the 13 targets" in speed_details.answer(bench).data
    assert "at most 0.33" in shown
    tables = (speed_details.limits, speed_details.steps, speed_details.start)
    there = "".join([beside_training, *(draw(bench).data for draw in tables)])
    missed = re.findall(r'no: <a href="#([^"]+)">where the time goes</a>', shown)
    assert missed
    assert [table for table in missed if f'id="{table}"' not in there] == []
    said = speed.answer(bench).data
    assert "takes 10 % less time" in said
    assert "on all solar cells takes 25 % less time" in said
    assert "freeze 6" in speed.expert(bench).data
    assert "reaches 40 to 40 %" in speed_details.limits(bench).data
    assert "4.0 times as long" in speed.design(bench).data
    drawn = speed.depths(bench).data
    assert "75 % of the upper bound; 7 of 7 depths" in drawn
    assert "4 times the images take 4.0 times as long" in speed_details.growth(bench).data
    assert "5.5 s after the command of a sweep" in speed_details.start(bench).data
    assert "1.0 times as much arithmetic" in speed_details.steps(bench).data
    assert "1.20 to 1.80 times as long" in speed_details.instructions(bench).data


def test_a_depth_that_keeps_nothing_has_no_speed_up(monkeypatch, tmp_path):
    nothing_kept = [
        one.model_copy(update={"found": one.found | {"kept": False}})
        if one.arm == "depth 1"
        else one
        for one in measurements()
    ]
    bench = written(monkeypatch, tmp_path, nothing_kept)
    assert "freeze 1:" not in speed.depths(bench).data
    assert "freeze 2:" in speed.depths(bench).data


def test_the_speed_page_says_what_is_missing(monkeypatch, tmp_path):
    bench = written(monkeypatch, tmp_path, [one for one in measurements() if one.arm == "book"])
    assert "2 of the 3 targets that were measured" in speed_details.answer(bench).data
    for draw in [*PARTS[1:], *DETAILS[2:-1]]:
        assert "<code>make bench</code>" in draw(bench).data


@pytest.mark.slow
def test_the_speed_page_can_be_made_whenever_the_benchmark_was_stopped(monkeypatch, tmp_path):
    """After the first and the last arm of each kind, and before the first of all."""
    everything = list(measurements(turns=1))
    ends = list(accumulate(len(list(arms)) for _, arms in groupby(everything, kind)))
    firsts = [end + 1 for end in ends[:-1]]
    for done in sorted({0, 1, *firsts, *ends}):
        bench = written(monkeypatch, tmp_path / str(done), everything[:done])
        for draw in [*PARTS, *DETAILS]:
            assert draw(bench).data


def test_the_committed_numbers_follow_from_the_measurements():
    bench = benchmark()
    if not bench.turns:
        pytest.skip("the benchmark did not run yet")
    origin = {"versions": bench.versions, "machine": bench.machine}
    assert summary(bench.measurements).model_copy(update=origin) == bench


@pytest.mark.slow
def test_the_expert_computes_with_all_that_the_processor_has():
    trained = (
        "from bench import expert; from effnet_core import processor; "
        "from effnet_core.study.studies import read_settings; "
        "settings = {'study': 'quick', 'freeze': 6, 'max_images': 40, 'epochs': 1}; "
        "expert.train_one(read_settings(settings)); print(processor.in_force())"
    )
    done = subprocess.run(
        [sys.executable, "-c", trained], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert "torch" in done.stdout
    assert not any(name in done.stdout for name in processor.TORCH)


def test_time_beside_the_training_is_told_by_section(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "EXECUTED", tmp_path)
    assert "report-gap" in speed_details.beside_training().data
    for name, images in (("01-seed0", 1.0), ("02-seed0", 2.0), ("03-seed0", 9.0)):
        cells, start = [], 10
        for source, seconds in (
            ("study = 'quick'", 0.5), ("## The images", 0), ("show(images)", images),
            ("## Training", 0), ("fitted = run.train(this)", 20.0), ("curves()", 0.25),
        ):  # fmt: skip
            new = nbformat.v4.new_markdown_cell if seconds == 0 else nbformat.v4.new_code_cell
            cell = new(source)
            cell.metadata.papermill = {
                "start_time": f"2026-01-01T00:00:{start}+00:00",
                "duration": seconds,
            }
            cells.append(cell)
        whole = {"start_time": "2026-01-01T00:00:08+00:00", "duration": 24 + images}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": whole})
        place = paths.executed(speed_details.TIMED) / f"{name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place)
    assert clock.seconds_by_section(place) == pytest.approx(
        {clock.START: 2, "Settings and imports": 0.5, "The images": 9, "Training": 0.25,
         "training": 20, clock.REST: 1.25}
    )  # fmt: skip
    shown = speed_details.beside_training().data
    assert "All but training takes 6.0 s of a run; the longest part is “start of" in shown
    assert "Median wall time of 3 runs" in shown
