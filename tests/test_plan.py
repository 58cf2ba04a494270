import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import photos
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Study
from effnet_report.evidence.loader import Loaded
from effnet_report.measurements.photos import Photos, PhotosRow
from effnet_report.pages import tutorial
from effnet_report.sweep import hours
from effnet_report.sweep import plan as planning
from effnet_report.sweep.plan import CONTEXT, fitting
from effnet_report.sweep.sweep import check_images

GB = 10**9


def test_runs_are_packed_into_the_memory_that_is_free():
    run = 4 * GB - CONTEXT
    assert fitting(80 * GB, run) == 18  # a tenth stays free
    assert fitting(8 * GB, run) == 1
    assert fitting(1 * GB, run) == 1  # it may yet fit, and says so itself if not


@pytest.fixture
def folder_study(tmp_path, monkeypatch):
    """A study of class folders with 40 and some more images, nothing of which is timed."""
    monkeypatch.setattr(planning, "cost_of", lambda *_: planning.StepCost(1, 1.0, 1.0, 10**15))

    def make(few: int) -> Study:
        for name, count in {"[red]cat": 40, "dog": few}.items():
            (tmp_path / name).mkdir()
            for place in range(count):
                Image.new("RGB", (4, 4), (place, count, 0)).save(tmp_path / name / f"{place}.png")
        (tmp_path / "film.mp4").write_text("x")
        protocol = {"dataset": "imagefolder", "data_dir": str(tmp_path), "image_size": 32}
        content = {"name": "mine", "title": "Mine", "seeds": [0], "protocol": protocol}
        return Study.model_validate(content)

    return make


def test_a_plan_counts_classes_and_names_what_is_left_out(folder_study):
    made = planning.plan(folder_study(few=20))
    assert made.classes == {"[red]cat": 40, "dog": 20}
    assert "1 files are left out, no images of a class: film.mp4." in made.note
    assert "fail" not in made.note


def test_a_plan_warns_of_a_class_that_is_too_small_once(folder_study):
    made = planning.plan(folder_study(few=6))
    assert made.note.count("'dog' has") == 1
    assert "classical comparison needs 5 and will fail" in made.note


def test_hours_are_steps_and_looks_at_the_speed_that_was_measured(folder_study, monkeypatch):
    cost = planning.StepCost(2 * GB, 3 * GB, memory=1, trainable=10)
    monkeypatch.setattr(planning, "cost_of", lambda *_: cost)
    monkeypatch.setattr(planning, "_measure", lambda *_: planning.Speed(1e-9, 2e-9))
    made = planning.plan(folder_study(few=20))
    # A step: 2 s through what is frozen, 3 x 3 x 2 s through what trains. A look: 2 + 3 s.
    steps = 15 * made.train_images / 4
    looks = (15 * made.validation_images + made.validation_images + made.test_images) / 4
    took = [row.hours for row in made.rows]
    assert took[:4] == pytest.approx([(20 * steps + 5 * looks) / 3600] * 4)
    # Of kept activations, every image passes what is frozen once.
    once = 2 * 60 / 4
    assert took[-4:] == pytest.approx([(once + 18 * steps + 3 * looks) / 3600] * 4)


def test_runs_that_train_nothing_and_classical_models_take_time_too():
    assert hours.task_hours([0.0, None], 0.5, 1) == [hours.RUN / 3600, math.inf, 0.5]
    assert len(hours.task_hours([1.0, 2.0], 0.5, seeds=4)) == 12


def test_the_longest_runs_start_first_and_the_last_one_ends_the_study():
    assert hours.in_parallel([1.0, 1.0, 2.0], 2) == 2.0
    assert hours.in_parallel([3.0, 1.0], 2) == 3.0


@pytest.mark.parametrize("study", ["quick", "elpv_source", "fashion_source"])
def test_the_classical_comparison_takes_about_what_it_took(study):
    record = records.load(records.record_path(f"published/{study}", "classical-seed0"))
    facts = record.facts
    images = facts.train_images + facts.validation_images + facts.test_images
    estimated = hours.classical_hours(
        record.settings, facts.train_images, images, len(facts.classes)
    )
    assert 0.67 < 3600 * estimated / record.made.cpu_seconds["total"] < 1.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_plan_says_what_views_cost_on_disk_and_a_race_in_time(make_settings):
    run = make_settings(freeze=6, augment="flips")
    plain = run.model_copy(update={"augment": "none"})
    shallow = run.model_copy(update={"freeze": 1})
    alone, with_views = (planning._activations([one], 30, 50) for one in (plain, run))
    assert with_views == pytest.approx(alone * (50 + 3 * 30) / 50)
    assert planning._activations([plain, run, shallow], 30, 50) == with_views
    larger = plain.model_copy(update={"image_size": 2 * plain.image_size})
    assert planning._activations([plain, larger], 30, 50) == pytest.approx(
        sum(planning._activations([one], 30, 50) for one in (plain, larger))
    )
    raced = run.model_copy(update={"learning_rate": (1e-4, 1e-3), "race_epochs": 2})
    assert (run.trained_epochs, raced.trained_epochs) == (run.epochs, run.epochs + 2)


def test_without_a_gpu_each_run_is_alone_on_a_core(folder_study):
    assert planning.runs_that_fit(folder_study(few=20)) == 1


def test_copies_do_not_make_a_class_large_enough(folder_study, own_folders):
    study = folder_study(few=3)
    folder = Path(study.protocol.data_dir) / "dog"
    for place in range(9):
        shutil.copy(folder / f"{place % 3}.png", folder / f"copy {place}.png")
    told = r"Class 'dog' has 3 images \(others are copies"
    with pytest.raises(InputError, match=told):
        planning.plan(study)
    with pytest.raises(InputError, match=told):
        check_images(study, Loaded("mine", study, {}, {}, {}, {}))


def test_a_study_of_more_photos_takes_longer_and_more_cores_help(monkeypatch):
    cost = planning.StepCost(2 * GB, 3 * GB, memory=1, trainable=10)
    monkeypatch.setattr(planning, "cost_of", lambda *_: cost)
    network = photos.CPU | {"backbone": "tinynet_e", "weights": "none", "image_size": 32}
    speed = planning.Speed(forward=1e-12, training=1e-12)
    timed = planning.at_speed(photos.study_of(300, network), 2, speed)
    hours = [photos.hours(count, network, timed, 1) for count in photos.PHOTOS]
    assert hours == sorted(hours)
    assert photos.hours(3_000, network, timed, 2) < hours[1]


def test_the_tutorial_shows_the_hours_of_every_device(own_folders, monkeypatch):
    monkeypatch.setenv("EFFNET_SITE", str(own_folders / "site"))
    assert "bench.photos" in tutorial.times().data
    row = {"backbone": "tf_efficientnet_lite0", "image_size": 160, "runs": 20, "epochs": 8}
    rows = [
        PhotosRow(device=device, photos=count, hours=count / 1000, jobs=2, **row)
        for device in ("cpu", "A GPU")
        for count in (300, 3_000)
    ]
    found = Photos(versions={}, machine={"processor": "A CPU"}, commit="", rows=rows)
    found.save()
    shown = tutorial.times().data
    assert "A study of 3,000 photos takes 3.0 h on 2 cores of a CPU" in shown
    wide = [float(text) for text in re.findall(r"± ([\d.]+)</td>", shown)]
    assert wide == sorted(wide, reverse=True)
    assert len(set(wide)) == 2
    assert "A GPU: EfficientNet-Lite0, 160 px" in shown
    assert shown.count("<td") == 2 * 4
