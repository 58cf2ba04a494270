"""The forecast of what more training images would give."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from factories import save_run
from PIL import Image
from rich.console import Console

from effnet_core import paths, run
from effnet_core.data.datasets import load_dataset
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.studies import load_study, read_settings
from effnet_report.audit import more_images
from effnet_report.evidence import evidence, growth, locations
from effnet_report.inference import analysis
from effnet_report.pages import images
from effnet_report.sweep import sweep

STUDY = """
title: Digits
seeds: [0]
factors: {freeze: [6], head: [none], scheduler: [cosine]}
protocol: {dataset: digits, max_images: 600, image_size: 32, weights: none, epochs: 1,
  backbone: tinynet_e, batch_size: 16, early_stop_patience: null}
"""


def test_a_power_law_is_found_again():
    sizes = [250, 500, 1000]
    errors = 40 * (np.array(sizes) / 250) ** -0.5
    gain = more_images._gain(sizes, 1000, images=10_000)
    assert gain(100 - errors[None])[0] == pytest.approx(20 - 40 * 8**-0.5)


def test_nothing_is_lost_beyond_an_error_of_a_hundred_per_cent():
    """Where few images give falling accuracies by chance, the power law would go further."""
    worse = np.array([[85.0, 60.0, 30.0], [100.0, 90.0, 20.0]])
    assert (more_images._gain([15, 30, 60], 60, images=20)(worse) >= -100).all()


def test_without_any_error_nothing_can_be_gained():
    assert more_images._gain([10, 20, 40], 40, images=50)(np.full((1, 3), 100.0))[0] == 0


@pytest.mark.slow
def test_the_best_run_is_trained_on_fewer_images(own_folders, monkeypatch, capsys):
    monkeypatch.setattr(paths, "STUDIES", own_folders)
    (own_folders / "digits.yml").write_text(STUDY)
    settings = next(load_study("digits").runs())
    run.execute(settings.levels | {"study": "digits", "seed": 0})
    more_images.more_images("digits", Console(width=200))
    found = evidence.load("digits")
    forecast = growth.load(found)
    whole = found.finished[0].facts.train_images
    assert forecast.sizes == [whole // 4, whole // 2, whole]
    assert forecast.accuracy[-1] == pytest.approx(found.finished[0].outcome.test.accuracy)
    assert forecast.low <= forecast.gain <= forecast.high
    assert forecast.sentence in capsys.readouterr().out
    assert forecast.sentence in images.more(analysis.load("digits")).data
    for impossible in (
        {"sizes": [-3, 7, whole]},
        {"sizes": [7, whole]},
        {"sizes": [7, 8, 10**9]},
        {"accuracy": [1, 2, 1e9]},
        {"accuracy": [1, 2, 99.9]},
        {"low": 2.0, "high": 1.0},
        {"more": 10**9},
        {"run_id": "another"},
    ):
        forged = json.dumps(json.loads(forecast.model_dump_json()) | impossible)
        locations.growth("digits").write_text(forged)
        assert growth.load(found) is None, impossible
    assert [record.run_id for record in found.finished] == [settings.run_id]
    beside, *_ = paths.RESULTS.glob("digits~*")
    path = next(beside.glob("*.json"))
    record, table = records.load_whole(path)
    others = record.fingerprints.model_copy(update={"data": "0" * 64})
    path.unlink()
    records.save(record.model_copy(update={"fingerprints": others}), table)
    with pytest.raises(InputError, match="of other images, other test images or other weights"):
        more_images.more_images("digits", Console(width=200))
    path.unlink()
    few = record.facts.model_copy(update={"train_images": 2})
    records.save(record.model_copy(update={"facts": few}), table)
    with pytest.raises(InputError, match="fewer training images than its settings want"):
        more_images.more_images("digits", Console(width=200))
    shutil.rmtree(beside)
    published = paths.records("published/digits")
    shutil.copytree(paths.records("digits"), published)
    (published / "study.yml").write_text(STUDY)
    (own_folders / "digits.yml").write_text(STUDY.replace("epochs: 1", "epochs: 2"))
    with pytest.raises(InputError, match="has changed since its runs: epochs 1 -> 2"):
        more_images.more_images("published/digits", Console(width=200))
    (own_folders / "digits.yml").write_text(STUDY)
    other = replace(load_dataset("digits"), labels=load_dataset("digits").labels[::-1])
    monkeypatch.setattr(sweep, "dataset_of", lambda *_: other)
    with pytest.raises(InputError, match="images of digits are not those"):
        more_images.more_images("digits", Console(width=200))


@pytest.mark.fault("records of something else")
def test_no_run_is_trained_on_another_split_than_the_best_one(own_folders, monkeypatch):
    """The fingerprint of the images leaves out the column of parts, which has changed."""
    monkeypatch.setattr(paths, "STUDIES", own_folders)
    rng = np.random.default_rng(0)
    rows = []
    for place in range(48):
        image = f"{place}.png"
        pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(own_folders / image)
        rows.append((image, "ab"[place % 2], "test" if place < 24 else "train"))
    other = [(*row, "train" if part == "test" else "test") for *row, part in rows]

    def tabulate(content) -> None:
        lines = ["image,label,part", *map(",".join, content)]
        (own_folders / "photos.csv").write_text("\n".join(lines))

    own_images = "dataset: imagefolder, data_dir: ., labels: photos.csv, official_test: true"
    (own_folders / "photos.yml").write_text(
        STUDY.replace("dataset: digits, max_images: 600", own_images)
    )
    tabulate(rows)
    run.execute({"study": "photos", "freeze": 6})
    tabulate(other)
    with pytest.raises(InputError, match="Seed 0 of photos would be trained and tested on other"):
        more_images.more_images("photos", Console(width=200))
    assert not list(paths.RESULTS.glob("photos~*"))


@pytest.mark.fault("records of something else")
def test_a_run_that_was_just_trained_on_other_images_is_not_compared(own_folders, monkeypatch):
    monkeypatch.setattr(paths, "STUDIES", own_folders)
    (own_folders / "digits.yml").write_text(STUDY)
    best = save_run(next(load_study("digits").runs()))

    def execute(parameters):
        record = save_run(read_settings(parameters))
        path = records.record_path(record.settings.study, record.run_id)
        table = records.predictions_path(path).read_bytes()
        path.unlink()
        changed = record.fingerprints.model_copy(update={"data": "d" * 64})
        record = record.model_copy(update={"fingerprints": changed})
        records.save(record, table)
        return record

    monkeypatch.setattr(run, "execute", execute)
    with pytest.raises(InputError, match="of other images, other test images or other weights"):
        more_images._trained(best, "digits", 60)
