"""The kept model on new images: what it says, how sure, and that it is the recorded one."""

import csv
import hashlib
import io
import json
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from safetensors.numpy import save
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from effnet_core import paths, run
from effnet_core.data.datasets import digits, elpv
from effnet_core.data.images import decode
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE
from effnet_core.weights import ENTRY, describe
from effnet_report.deploy import calibration, export, kept
from effnet_report.deploy.explain import evidence_maps
from effnet_report.deploy.predict import images_at, predict
from effnet_report.deploy.recommend import tell_recommendation
from effnet_report.deploy.tell import tell_export, tell_predictions
from effnet_report.escaping import Terminal
from effnet_report.evidence import choice, evidence, locations
from effnet_report.evidence.calibrated import Calibrated
from effnet_report.inference import analysis, decisive, recommendation
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import unknown
from effnet_report.pages import images
from effnet_report.publishing.exchange import alone
from effnet_report.render import cards
from effnet_report.render.heat import overlay
from effnet_report.sweep.command import keep_best

STUDY = """
title: Three digits of your own
seeds: [0]
factors: {freeze: [4, 6], head: [none, mlp], scheduler: [plateau]}
protocol:
  {dataset: imagefolder, data_dir: ../photos, image_size: 32, epochs: 3, learning_rate: 1.0e-3}
"""


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A study of two runs on 150 digits as files: the folder, and the better run's record."""
    root = tmp_path_factory.mktemp("own")
    dataset = digits()
    for index in np.flatnonzero(dataset.labels < 3)[:150]:
        folder = root / "photos" / f"digit {dataset.labels[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.images[index]).save(folder / f"{index:03d}.png")
    (root / "studies").mkdir()
    (root / "studies" / "mine.yml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        use(root, patch)
        for freeze, head in ((6, "none"), (4, "mlp")):
            run.execute({"study": "mine", "freeze": freeze, "head": head})
        shutil.copytree(paths.weights("mine", "any").parent, root / "weights")
        return root, choice.of_study("mine")


def use(root, patch) -> None:
    for name in ("results", "studies", "cache"):
        patch.setattr(paths, name.upper(), root / name)


@pytest.fixture
def study(two_runs, monkeypatch):
    use(two_runs[0], monkeypatch)
    return two_runs


def told(model, places):
    found = images_at([str(place) for place in places])
    return [look.prediction for look in predict(model, found)]


def test_predictions_of_the_record_come_out_again_to_the_bit(study):
    model = kept.load("mine")
    assert model.record.run_id == study[1].run_id
    data = run.load_data(run.begin_again(model.settings))
    path = records.record_path("mine", model.record.run_id)
    stated = records.load_predictions(path).query("part == 'test'").set_index("image")
    logits = model.ask(data.images, data.split.test).logits
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    again = pd.DataFrame(
        {"predicted": probabilities.argmax(axis=1), "confidence": probabilities.max(axis=1)},
        index=[data.dataset.names[index] for index in data.split.test],
    )
    assert len(again) == len(stated)
    assert (again["predicted"] == stated["predicted"][again.index]).all()
    rounded = [float(f"{one:.4g}") for one in again["confidence"]]
    assert rounded == stated["confidence"][again.index].tolist()


def test_a_model_of_less_precision_answers_as_recorded(study):
    record = run.execute({"study": "mine", "freeze": 6, "precision": "bfloat16"})
    model = kept.load(record.settings.study)
    data = run.load_data(run.begin_again(model.settings))
    path = records.record_path(record.settings.study, record.run_id)
    stated = records.load_predictions(path).query("part == 'test'").set_index("image")
    names = [data.dataset.names[index] for index in data.split.test]
    answers = model.ask(data.images, data.split.test).logits.argmax(axis=1)
    assert answers.tolist() == stated["predicted"][names].tolist()


def test_a_model_of_a_gpu_answers_without_one(study, monkeypatch):
    best = study[1]
    on_gpu = best.settings.model_copy(update={"device": "cuda"})
    trained_there = best.model_copy(update={"settings": on_gpu})
    monkeypatch.setattr(kept.weights, "best", lambda *_: trained_there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    photos = [study[0] / "photos/digit 0", study[0] / "photos/digit 1"]
    assert kept.load("mine").settings.device == "cpu"
    assert told(kept.load("mine"), photos)


def test_files_are_predicted_as_recorded(study):
    root, best = study
    stated = records.load_predictions(records.record_path("mine", best.run_id))
    test = stated[stated["part"] == "test"]
    model = kept.load("mine")
    found = told(model, [root / "photos" / name for name in test["image"]])
    assert [one.label for one in found] == [best.facts.classes[c] for c in test["predicted"]]
    known = model.calibration.stated
    assert known.test_images == len(test)
    assert np.mean([one.unlike for one in found]) == pytest.approx(known.false_alarms)
    assert np.mean([one.probability for one in found]) != pytest.approx(test["confidence"].mean())


def test_a_calibration_is_computed_once_and_belongs_to_its_weights(study, monkeypatch):
    first = kept.load("mine").calibration
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "_make", None)
        again = kept.load("mine").calibration
        assert again.stated == first.stated
        assert np.array_equal(again.features, first.features)
    beside = paths.records("mine") / "calibration.json"
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps(content | {"final_weights": "of another run"}))
    assert kept.load("mine").calibration.stated == first.stated
    assert json.loads(beside.read_text()) == content
    older = {name: value for name, value in content.items() if name != "detected"}
    beside.write_text(json.dumps(older))
    assert kept.load("mine").calibration.stated == first.stated


def test_the_share_of_other_images_called_unlike_is_what_predict_says_of_them(study, capsys):
    model, other = kept.load("mine"), elpv()
    known = model.calibration.stated
    drawn = np.random.default_rng(0).permutation(len(other))[: calibration.OTHERS]
    predictions = told(model, [other.images[index] for index in drawn])
    assert (known.other, known.other_images) == ("elpv", len(predictions))
    assert known.detected == np.mean([one.unlike for one in predictions])
    tell_predictions("mine", [str(study[0] / "photos" / "digit 1")], "table", Console(width=500))
    assert f"{100 * known.detected:.1f} % of 200 images" in capsys.readouterr().out


def test_the_hardest_and_the_most_typical_images_are_kept_with_their_maps(study):
    known = kept.load("mine").calibration
    hardest, typical = known.stated.hardest, known.stated.typical
    assert len(hardest) == len(typical) == calibration.EXAMPLES
    assert all(np.array(each.heat).ndim == 2 for each in (*hardest, *typical))
    assert max(one.probability for one in hardest) < min(one.probability for one in typical)
    assert all(one.predicted == one.label for one in typical)


def test_the_page_images_shows_where_the_model_looks(study, monkeypatch):
    monkeypatch.setenv("EFFNET_STUDY", "mine")
    known = kept.load("mine").calibration.stated
    found = analysis.load("mine")
    page = BeautifulSoup(images.maps(found).data, "html.parser")
    assert len(page.select(".report-tile img")) == 2 * calibration.EXAMPLES
    assert page.select_one('[data-finding^="half:"]')
    marked = known.typical[0].model_copy(update={"heat": [[4.0, -9.0], [1.0, 2.0]]})
    even = known.typical[0].model_copy(update={"heat": [[1.0, 1.0], [1.0, 1.0]]})
    assert images._half_of_the_evidence([marked]) == 25
    assert images._half_of_the_evidence([even]) == 50
    assert images._half_of_the_evidence([marked, even]) == 37.5


def test_the_page_images_shows_the_calibration_before_and_after(study):
    known = kept.load("mine").calibration.stated
    text = images.temperature(analysis.load("mine")).data
    assert f"error from {known.error[0]:.1f} to {known.error[1]:.1f} points" in text
    assert f"temperature of {known.temperature:.2f}" in text
    beside = locations.calibration("mine")
    kept_before = beside.read_text()
    beside.write_text(kept_before.replace(study[1].outcome.final_weights, "0" * 64))
    unused = images.temperature(analysis.load("mine")).data
    assert "calibrated when the model is first used" in unused
    beside.write_text(kept_before)


def test_images_that_are_not_those_of_the_training_do_not_calibrate(study):
    root, _ = study
    (paths.records("mine") / "calibration.json").unlink(missing_ok=True)
    extra = root / "photos" / "digit 0" / "extra.png"
    Image.new("L", (8, 8)).save(extra)
    with pytest.raises(InputError, match="not those that its model was trained on"):
        _ = kept.load("mine").calibration
    extra.unlink()


@pytest.mark.fault("records of something else")
def test_a_model_is_not_calibrated_on_another_split_than_that_of_its_training(study, monkeypatch):
    load_dataset = run.load_dataset

    def grouped(*places):
        dataset = load_dataset(*places)
        return replace(dataset, groups=np.arange(len(dataset)) // 2)

    model = kept.load("mine")
    monkeypatch.setattr(run, "load_dataset", grouped)
    told = rf"test images of mine are no longer those of {study[1].run_id}.*parts or groups"
    with pytest.raises(InputError, match=told):
        calibration.images_of(model)


@pytest.mark.fault("studies made again under their name")
def test_a_model_does_not_answer_for_a_study_of_other_classes(study, tmp_path):
    path = paths.STUDIES / "mine.yml"
    for kind in ("owl", "fox"):
        (tmp_path / kind).mkdir()
    path.write_text(STUDY.replace("../photos", str(tmp_path)))
    try:
        with pytest.raises(InputError, match=r"are of the classes fox, owl now, .*digit 0"):
            kept.load("mine")
        path.write_text(STUDY.replace("../photos", "nowhere"))
        assert kept.load("mine").record == study[1]
    finally:
        path.write_text(STUDY)


def test_missing_weights_are_trained_again_to_the_bit(study):
    path = paths.weights("mine", study[1].run_id)
    before = path.read_bytes()
    path.unlink()
    told = []
    kept.load("mine", told.append)
    assert [study[1].run_id in line for line in told] == [True]
    assert path.read_bytes() == before
    kept.load("mine", told.append)
    assert len(told) == 1


def test_a_study_without_a_finished_run_has_no_model(study):
    (study[0] / "studies" / "nothing.yml").write_text(STUDY)
    with pytest.raises(InputError, match="effnet sweep nothing"):
        kept.load("nothing")
    with pytest.raises(InputError, match="no study 'mime'; did you mean 'mine'"):
        kept.load("mime")


@pytest.fixture
def forged(study):
    """Rewrites the best run's file of weights; it is put back at the end."""
    path = paths.weights("mine", study[1].run_id)
    before = path.read_bytes()

    def forge(tensors=lambda _: None, **changes):
        about, held = describe(path), load_file(path)
        tensors(held)
        save_file(held, path, {ENTRY: json.dumps(about | changes)})

    yield forge
    path.write_bytes(before)


@pytest.mark.fault("forged weights")
@pytest.mark.parametrize("part", ["classifier.weight", "classifier.4.weight", "conv_stem.weight"])
def test_poisoned_weights_are_refused(study, forged, part):
    def poison(held):
        name = part if part in held else "conv_stem.weight"
        held[name] = -held[name]

    forged(poison)
    with pytest.raises(InputError, match=r"does not hold the weights of .* Delete the file"):
        kept.load("mine")


@pytest.mark.fault("forged weights")
def test_weights_of_another_description_are_refused(study, forged):
    facts = study[1].facts.model_dump(mode="json")
    forged(facts=facts | {"classes": facts["classes"][::-1]})
    with pytest.raises(InputError, match=r"does not belong to the record .*: its facts differ"):
        kept.load("mine")
    forged(facts=facts, schema_version=2)
    with pytest.raises(InputError, match="its schema_version differ"):
        kept.load("mine")
    paths.weights("mine", study[1].run_id).write_bytes(b"x")
    with pytest.raises(InputError, match="does not hold the weights of a run"):
        kept.load("mine")


@pytest.mark.fault("forged weights")
def test_a_calibration_of_other_features_or_thresholds_is_not_used(study):
    known = kept.load("mine").calibration.stated
    beside = locations.calibration("mine")
    before, path = beside.read_text(), beside.with_suffix(".safetensors")
    held = path.read_bytes()
    for arrays in (b"x", save({"a": np.zeros(1)}), save({"features": np.zeros((3, 5), "f4")})):
        content = json.loads(before) | {"features": hashlib.sha256(arrays).hexdigest()}
        beside.write_text(json.dumps(content))
        path.write_bytes(arrays)
        with pytest.raises(InputError, match="Delete both"):
            _ = kept.load("mine").calibration
    path.write_bytes(held)
    beside.write_text(json.dumps(json.loads(before) | {"thresholds": []}))
    assert kept.load("mine").calibration.stated == known  # computed again
    content = json.loads(before)
    content["thresholds"][0]["images"] = 0
    beside.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is no calibration"):
        _ = kept.load("mine").calibration
    beside.unlink()
    os.mkfifo(beside)
    with pytest.raises(InputError, match="is no calibration"):
        _ = kept.load("mine").calibration
    beside.unlink()
    beside.write_text(before)


@pytest.mark.fault("forged calibrations")
@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["thresholds"][0].update(found=10**9),
        lambda c: c["thresholds"][0].update(false_alarms=10**9),
        lambda c: c["thresholds"][0].update(others=10**9),
        lambda c: c["certainty"][0].update(right=10**9),
        lambda c: c["certainty"][0].update(right=0, images=10**9),
        lambda c: c["thresholds"].pop(),
        lambda c: c.update(test_images=10**9),
    ],
)
def test_a_calibration_counts_no_more_images_than_there_are(change):
    published = locations.calibration("published/elpv_source").read_bytes()
    whole = Calibrated.model_validate_json(published).model_dump(mode="json")
    group = {"images": 100, "others": whole["test_images"] - 100, "found": 90, "false_alarms": 9}
    other = group | {"images": group["others"], "others": 100}
    rest = {"probability": 0.5, "validation_images": 50}
    whole |= {
        "thresholds": [group | rest, other | rest],
        "certainty": [{"probability": 0.9, "right": 90, "images": whole["test_images"]}],
    }
    Calibrated.model_validate(whole)
    change(whole)
    with pytest.raises(ValidationError):
        Calibrated.model_validate(whole)


@pytest.mark.fault("forged weights")
@pytest.mark.parametrize("temperature", ["-1.0", "0.0", "NaN", "Infinity", '"warm"'])
def test_a_calibration_that_cannot_be_right_is_refused(study, temperature):
    right = kept.load("mine").calibration.stated.temperature
    beside = locations.calibration("mine")
    before = beside.read_text()
    beside.write_text(before.replace(f'"temperature": {right}', f'"temperature": {temperature}'))
    with pytest.raises(InputError, match="temperature has to be above 0"):
        _ = kept.load("mine").calibration
    beside.write_text(before)
    features = beside.with_suffix(".safetensors")
    held = features.read_bytes()
    features.write_bytes(held[:-4] + b"abcd")
    with pytest.raises(InputError, match="Delete both"):
        _ = kept.load("mine").calibration
    features.write_bytes(held)


def test_a_sweep_leaves_the_weights_of_the_best_run_alone(study, capsys):
    other = paths.weights("mine", "some-other-run")
    other.write_bytes(b"x")
    best = paths.weights("mine", study[1].run_id)
    before = best.read_bytes()
    best.unlink()
    keep_best("mine", Console(width=500))
    assert f"The weights of {study[1].run_id}" in capsys.readouterr().out
    assert best.read_bytes() == before
    assert not other.exists()
    keep_best("mine", Console(width=500))
    assert capsys.readouterr().out == ""


@contextmanager
def one_run(head):
    """The study as if only its run with this head had finished."""
    found = [records.load(path) for path in records.record_files("mine")]
    (other,) = [record for record in found if record.settings.head != head]
    path = records.record_path("mine", other.run_id)
    moved = path.rename(path.with_suffix(".away"))
    try:
        keep_best_of_both()
        yield
    finally:
        moved.rename(path)
        keep_best_of_both()


def keep_best_of_both():
    """As after a sweep, with the weights of both runs there, so that none is trained again."""
    there = paths.weights("mine", "any").parent
    shutil.copytree(paths.RESULTS.parent / "weights", there, dirs_exist_ok=True)
    keep_best("mine", Console(width=500))


@pytest.fixture(params=["none", "mlp"])
def exported(request, study):
    """The model with each kind of head, in the formats of others: its folder, and the model."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extra `export` is not installed")
    with one_run(request.param):
        tell_export("mine", Console(width=500))
        yield paths.records("mine") / "model", kept.load("mine")
        shutil.rmtree(paths.records("mine") / "model")


def test_an_exported_model_says_the_same_as_ours(exported, study, monkeypatch, capsys):
    import onnxruntime

    folder, model = exported
    images = sorted((study[0] / "photos").rglob("*.png"))[::25]
    ours = told(model, images)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    pixels = np.stack([decode(path, 32) for path in images]).transpose(0, 3, 1, 2)
    (theirs,) = session.run(None, {"image": pixels.astype(np.float32)})
    assert theirs.max(axis=1) == pytest.approx([one.probability for one in ours], abs=1e-4)
    labels = [model.classes[place] for place in theirs.argmax(axis=1)]
    assert labels == [one.label for one in ours]

    card = (folder / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    stated = header["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert stated == pytest.approx(model.record.outcome.test.accuracy / 100, abs=1e-4)
    snippet = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    hidden = Image.open(images[0]).convert("RGBA")
    hidden.paste((255, 0, 0, 0), (0, 0, hidden.width // 2, hidden.height))
    hidden.save(folder / "transparent.png")
    images.append(folder / "transparent.png")
    ours += told(model, images[-1:])
    capsys.readouterr()
    for path, one in zip(images, ours, strict=True):
        exec(snippet.replace("photo.jpg", str(path)), {})
        said, probability = capsys.readouterr().out.rsplit(maxsplit=1)
        assert said == one.label
        assert float(probability) == pytest.approx(one.probability, abs=1e-4)


@pytest.mark.fault("files of a user")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_in_place_of_an_export_is_left(own_folders, kind):
    there = paths.records("mine") / "model"
    there.parent.mkdir(parents=True)
    there.symlink_to(own_folders) if kind == "link" else there.write_text("mine")
    with pytest.raises(InputError, match=r"is a link or a file.*Move it away"):
        export.export(SimpleNamespace(study="mine"))
    assert there.is_symlink() if kind == "link" else there.read_text() == "mine"


@pytest.mark.fault("files of a user")
def test_two_do_not_export_at_once(own_folders):
    earlier = paths.records("mine") / "model"
    earlier.mkdir(parents=True)
    (earlier / "notes.txt").write_text("mine")
    with (
        alone(paths.records("mine")),
        pytest.raises(InputError, match=r"Another process writes to .*mine"),
    ):
        export.export(SimpleNamespace(study="mine"))
    assert [path.name for path in paths.records("mine").rglob("*")] == ["model", "notes.txt"]


def test_without_the_extra_nothing_is_exported_and_it_is_told(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript is needed: pip install.*\[export\]"):
        tell_export("mine", Console())
    assert not list(paths.records("mine").glob("*model"))


def test_an_export_that_disagrees_is_not_written(study, monkeypatch):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    monkeypatch.setitem(export.ALLOWED, "float32", 1e-12)
    with pytest.raises(InputError, match="ONNX Runtime differs from PyTorch by"):
        tell_export("mine", Console())
    assert not list(paths.records("mine").glob("*model"))


def test_tables_json_and_csv_say_the_same(study, capsys):
    root, _ = study
    places = [str(root / "photos" / "digit 1")]
    tell_predictions("mine", places, "table", Console(width=300))
    table = capsys.readouterr().out
    tell_predictions("mine", places, "json", Console())
    as_json = json.loads(capsys.readouterr().out)
    tell_predictions("mine", places, "csv", Console())
    as_csv = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(as_json) == len(as_csv) == len(list((root / "photos" / "digit 1").iterdir()))
    for one, row in zip(as_json, as_csv, strict=True):
        assert one["image"] == row["image"]
        assert one["label"] == row["label"]
        assert f"{100 * one['probability']:.1f} %" in table
    assert "temperature" in table
    assert "wrongly marks" in table


def test_unreadable_images_are_told_and_the_rest_is_predicted(study, tmp_path, capsys):
    good = next((study[0] / "photos").rglob("*.png"))
    (tmp_path / "bad.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"bad\.jpg[\s\S]*1 of 2 images cannot be read"):
        tell_predictions("mine", [str(good), str(tmp_path)], "json", Console())
    first, second = json.loads(capsys.readouterr().out)
    assert first["label"].startswith("digit")
    assert second["error"]


@pytest.fixture(params=["none", "mlp"])
def of_head(request, study):
    """The model of the run with each kind of head, and four images."""
    with one_run(request.param):
        model = kept.load("mine")
    paths_ = sorted((study[0] / "photos").rglob("*.png"))[::40]
    return model, np.stack([decode(path, 32) for path in paths_])


def test_a_map_adds_up_to_what_speaks_for_a_class(of_head):
    model, views = of_head
    indices, classes = np.arange(len(views)), np.arange(len(views)) % 3
    maps = evidence_maps(model, views, indices, classes)
    logits = model.ask(views, indices).logits
    assert maps.shape[0] == len(views)
    if model.settings.head == "none":  # exact: a mean over places, and the bias
        bias = model.head.bias.detach().numpy()
        wanted = logits - logits.mean(axis=1, keepdims=True) - (bias - bias.mean())
        assert maps.mean(axis=(1, 2)) == pytest.approx(wanted[indices, classes], abs=1e-4)
    else:  # along the slope: more of the features that the map names, more of the logit
        with torch.no_grad():
            ((found, count),) = model.last_maps(views[:4], np.arange(4))
            pooled = model.pool(found)[:count]
            slopes = []
            for step in (0.999, 1.001):
                moved = model.head(pooled * step)
                slopes.append((moved - moved.mean(dim=1, keepdim=True))[np.arange(4), classes[:4]])
            rise = ((slopes[1] - slopes[0]) / 0.002).numpy()
        assert maps[:4].mean(axis=(1, 2)) == pytest.approx(rise, rel=0.02, abs=0.02)


def test_a_picture_is_coloured_where_it_speaks_for_the_class():
    view = np.full((32, 32, 3), 100, np.uint8)
    heat = np.array([[1.0, 0.0], [0.0, -5.0]])
    shown = overlay(view, heat).astype(int)
    assert shown[2, 2, 0] - shown[2, 2, 2] > 50
    assert np.ptp(shown[-3, -3]) == 0
    assert np.array_equal(overlay(view, -np.ones((2, 2))), view)


def test_a_page_and_pictures_show_all_images_with_their_classes(study, tmp_path, capsys):
    root, _ = study
    shutil.copytree(root / "photos" / "digit 1", tmp_path / "new")
    (tmp_path / "new" / "bad.jpg").write_bytes(b"x")
    page, maps = tmp_path / "page.html", tmp_path / "maps"
    with pytest.raises(InputError, match="1 of 52 images cannot be read"):
        tell_predictions("mine", [str(tmp_path / "new")], "csv", Console(), page=page, maps=maps)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    text = page.read_text()
    assert text.count("<li>") == len(rows)
    assert text.count("<img") == 2 * (len(rows) - 1)
    assert "http" not in text.replace("http-equiv", "")
    for row in rows:
        assert row["image"] in text
    assert len(list(maps.iterdir())) == len(rows) - 1


@pytest.mark.fault("files of the user in the way")
def test_pictures_of_maps_replace_no_other_file(study, tmp_path, capsys):
    photo = next((study[0] / "photos").rglob("*.png"))
    maps = tmp_path / "maps"
    (maps).mkdir()
    mine = maps / f"0001-{photo.stem}.png"
    mine.write_bytes(b"my only copy")
    for _ in range(2):
        tell_predictions("mine", [str(photo)], "csv", Console(), maps=maps)
    earlier = maps / f"0001-{photo.stem}.1.png"
    assert earlier.read_bytes() == b"my only copy"
    assert {*maps.iterdir()} == {mine, earlier}
    assert str(earlier) in capsys.readouterr().err.replace("\n", "")


@pytest.mark.fault("files of the user in the way")
def test_a_page_replaces_no_file_but_an_earlier_page(tmp_path):
    photo, page = tmp_path / "photo.png", tmp_path / "page.html"
    photo.write_bytes(b"my only copy")
    for taken in (photo, tmp_path):
        with pytest.raises(InputError, match="is not a page of this program"):
            cards.check_replaceable(taken)
    cards.check_replaceable(page)
    page.write_text("".join(cards.page("Title", [], [])))
    cards.check_replaceable(page)


@pytest.mark.fault("files of the user in the way")
def test_a_prediction_does_not_write_its_page_over_a_photo(study):
    photo = next((study[0] / "photos").rglob("*.png"))
    before = photo.read_bytes()
    with pytest.raises(InputError, match="is not a page of this program"):
        tell_predictions("mine", [str(photo)], "csv", Console(), page=photo)
    assert photo.read_bytes() == before


@pytest.mark.fault("files of the user in the way")
def test_maps_do_not_lie_among_the_photos(study):
    photos = study[0] / "photos"
    before = sorted(photos.rglob("*"))
    for maps in (photos, photos / "digit 1"):
        with pytest.raises(InputError, match="maps in this folder would be taken for photos"):
            tell_predictions("mine", [str(photos)], "csv", Console(), maps=maps)
    assert sorted(photos.rglob("*")) == before


@pytest.mark.fault("files of the user in the way")
def test_another_export_keeps_a_card_that_was_filled_in_and_other_files(tmp_path, capsys):
    earlier, new = tmp_path / "model", tmp_path / ".model"
    for folder in (earlier, new):
        folder.mkdir()
        (folder / export.CARD).write_text("license: other")
        (folder / export.MODEL).write_text(folder.name)
    (earlier / export.HEAD).touch()
    (earlier / "notes").mkdir()
    (earlier / "notes" / "mine.txt").write_text("mine")
    export._carry_over(earlier, new)
    names = {export.CARD, export.MODEL, "notes"}
    assert {path.name for path in new.iterdir()} == names
    assert (new / export.MODEL).read_text() == ".model"
    assert (new / "notes/mine.txt").read_text() == "mine"
    (earlier / export.CARD).write_text("license: mit")
    shutil.rmtree(new / "notes")
    export._carry_over(earlier, new)
    assert (new / export.CARD).read_text() == "license: other"
    assert (new / "README.1.md").read_text() == "license: mit"
    assert "README.1.md" in capsys.readouterr().out


def test_a_named_file_whose_name_cannot_be_written_is_refused_as_in_a_folder(tmp_path):
    name = os.fsdecode(b"b\xff.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / name)
    in_folder, named = (images_at([place]) for place in (str(tmp_path), str(tmp_path / name)))
    assert in_folder == named
    assert not named.images
    assert "cannot be written down" in named.refused[tmp_path / name]


def test_images_are_read_a_few_at_a_time_and_told_at_once(study, monkeypatch):
    module = sys.modules["effnet_report.deploy.predict"]
    read = []
    monkeypatch.setattr(module, "TOGETHER", 2)
    monkeypatch.setattr(module, "decode", lambda *given: read.append(given[0]) or decode(*given))
    looks = predict(kept.load("mine"), images_at([str(study[0] / "photos")]))
    next(looks)
    assert len(read) == 2


def test_paths_folders_and_patterns_name_images_once(tmp_path, monkeypatch):
    for name in ("a/1.png", "a/b/2.jpg", "a/notes.txt", "3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    found = images_at(["a/1.png", "a", "*.png", f"{tmp_path}/a/b/*"])
    assert [path.name for path in found.images] == ["1.png", "2.jpg", "3.png", "2.jpg"]
    assert [path.name for path in found.left_out] == ["notes.txt"]
    assert len({path.resolve() for path in images_at(["a", "a/*.png"]).images}) == 2
    with pytest.raises(InputError, match=r"nowhere/\*\.png' names no image"):
        images_at(["nowhere/*.png"])
    with pytest.raises(InputError, match=r"^A URL names no image here: download"):
        images_at(["HTTPS://host/1.png?sig=secret"])


@pytest.mark.fault("images left out")
@pytest.mark.parametrize("pattern", ["a/*", "a/**", "*", "a*"])
def test_a_pattern_names_the_images_in_folders_as_the_folder_does(tmp_path, monkeypatch, pattern):
    for name in ("1.png", "b/2.png", "b/c/3.png", "b/notes.txt", "__MACOSX/1.png", "d.png/4.png"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"")
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    found, whole = images_at([pattern]), images_at(["a"])
    assert sorted(found.images) == whole.images
    assert len(whole.images) == 4
    assert found.refused == whole.refused
    assert {"notes.txt", "__MACOSX"} == {path.name for path in found.left_out}


def test_a_matched_path_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(b"")
    monkeypatch.setattr(Path, "is_dir", Mock(side_effect=PermissionError(13, "Permission denied")))
    ((path, told),) = images_at([f"{tmp_path}/*"]).refused.items()
    assert path == tmp_path / "1.png"
    assert told.startswith("cannot be read (Permission denied). Make it readable")


def test_a_pattern_does_not_look_into_folders_that_programs_create(tmp_path, monkeypatch):
    for name in ("cat/1.png", "__MACOSX/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    found = images_at(["*/*.png"])
    assert [path.as_posix() for path in found.images] == ["cat/1.png"]
    assert [path.as_posix() for path in found.left_out] == ["__MACOSX/1.png"]
    assert len(images_at(["__MACOSX/*.png"]).images) == 1


def test_images_that_are_not_there_are_told_before_a_run_is_trained_for_its_weights(monkeypatch):
    monkeypatch.setattr(kept, "load", lambda *_: pytest.fail("a run may be trained"))
    for study, told in (("published/elpv_source", "names no image"), ("mien", "no study")):
        with pytest.raises(InputError, match=told):
            tell_predictions(study, ["nowhere.png"], "csv", Terminal())


@pytest.mark.parametrize("place", ["", "x" * 300, "~nobody-there/a", "a**b", "[", "*/**/***"])
def test_a_place_that_names_nothing_is_one_message(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="names no image"):
        images_at([place])


@pytest.mark.parametrize("pattern", ["new/**.png", "new/**/*.png", "**/*.png"])
def test_a_pattern_means_what_it_means_in_a_shell(tmp_path, monkeypatch, pattern):
    (tmp_path / "new").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "new/1.png")
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in images_at([pattern]).images] == ["1.png"]


def test_only_the_answer_is_on_standard_output(study, capsys, monkeypatch):
    load = kept.load

    def talkative(*given):
        print("Fetching something, once")
        return load(*given)

    monkeypatch.setattr(kept, "load", talkative)
    place = str(next((study[0] / "photos").rglob("*.png")))
    tell_predictions("mine", [place], "json", Console())
    told = capsys.readouterr()
    assert len(json.loads(told.out)) == 1
    assert "Fetching something" in told.err


def test_names_that_act_are_told_harmlessly_and_the_rest_is_predicted(study, tmp_path, capsys):
    image = next((study[0] / "photos").rglob("*.png")).read_bytes()
    for name in (b"caf\xe9.png", b"=1\x1b[31m.png", "猫.png".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(image)
    for form in ("json", "csv", "table"):
        with pytest.raises(InputError, match="2 of 3 images cannot be read"):
            tell_predictions("mine", [str(tmp_path)], form, Terminal(width=500))
        told = capsys.readouterr().out
        assert "\x1b" not in told
        assert "digit" in told
        told.encode("ascii" if form == "json" else "utf-8")
        assert form != "json" or len(json.loads(told)) == 3


@pytest.mark.parametrize("name", ["", "nosuchstudy", "published/nosuchstudy", "../results/quick"])
def test_no_study_is_recommended_from_nothing(name):
    with pytest.raises(InputError, match="There is no study"):
        tell_recommendation(name, True, Console())


def test_a_study_without_runs_recommends_nothing(own_folders):
    with pytest.raises(InputError, match="No run of quick has finished"):
        tell_recommendation("quick", False, Console())


def test_what_a_study_cannot_say_is_null_in_json(capsys):
    tell_recommendation("published/quick", True, Console())
    text = capsys.readouterr().out

    def refuse(constant):
        raise AssertionError(constant)

    depths = json.loads(text, parse_constant=refuse)["depths"]
    assert None in depths[0].values()


def test_a_temperature_undoes_what_made_a_model_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    labels = np.array([rng.choice(5, p=row) for row in softmax(logits, axis=1)])
    assert calibration.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    calm, sure = (calibration.calibration_error(f * logits, labels) for f in (1, 3))
    assert calm < 3 < sure


def test_a_model_that_is_right_on_all_images_is_not_called_certain():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 60)
    logits = rng.normal(size=(60, 9))
    logits[np.arange(60), labels] = logits.max(axis=1) + rng.uniform(0.5, 3, 60)
    sure = softmax(logits / calibration.fit_temperature(logits, labels), axis=1).max(axis=1)
    assert 0.9 < sure.mean() < 61 / 62 + 0.01
    assert sure.min() < 0.95


def test_a_threshold_finds_enough_of_a_class_with_the_fewest_false_alarms():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 40])
    scores = rng.beta(*np.where(labels == 1, [[5.0], [2.0]], [[2.0], [5.0]]))
    probabilities = np.stack([1 - scores, scores], axis=1)
    known = calibration.thresholds(probabilities, labels, probabilities, labels)[1]
    assert (known.validation_images, known.images, known.others) == (40, 40, 400)
    assert known.found == 38  # 95 %, and the next larger threshold would find fewer
    assert known.false_alarms == (scores[labels == 0] >= known.probability).sum()
    assert known.probability == np.sort(scores[labels == 1])[2]


def test_how_often_an_answer_is_right_is_counted_by_its_probability():
    right = np.repeat([True, False], [90, 10])
    sure = np.r_[np.full(80, 0.97), np.full(10, 0.72), np.full(8, 0.74), np.full(2, 1.0)]
    probabilities = np.stack([sure, 1 - sure], axis=1)
    groups = calibration.certainty(probabilities, np.where(right, 0, 1))
    assert [(one.right, one.images) for one in groups] == [(10, 18), (80, 82)]
    assert groups[1].probability == pytest.approx((80 * 0.97 + 2) / 82)


def test_a_prediction_says_how_often_such_answers_are_right(study, capsys):
    root, best = study
    groups = kept.load("mine").calibration.stated.certainty
    stated = records.load_predictions(records.record_path("mine", best.run_id))
    test = stated[stated["part"] == "test"]
    assert sum(one.images for one in groups) == len(test)
    assert sum(one.right for one in groups) == (test["label"] == test["predicted"]).sum()
    tell_predictions("mine", [str(root / "photos" / test["image"].iloc[0])], "table",
                     Console(width=900))  # fmt: skip
    sure = [one for one in groups if one.probability >= 0.9]
    counted = f"{sum(one.right for one in sure)} of {sum(one.images for one in sure)} answers"
    assert (counted in capsys.readouterr().out) == bool(sure)


def test_a_class_that_should_not_be_missed_is_said_from_its_threshold_on(study, capsys):
    root, best = study
    model = kept.load("mine")
    kind = model.classes.index("digit 1")
    known = model.calibration.stated.thresholds[kind]
    stated = records.load_predictions(records.record_path("mine", best.run_id))
    test = stated[stated["part"] == "test"]
    places = [str(root / "photos" / name) for name in test["image"]]
    looks = list(predict(model, images_at(places), never_miss=kind))
    said = np.array([look.prediction.label == "digit 1" for look in looks])
    own = (test["label"] == kind).to_numpy()
    assert (said[own].sum(), said[~own].sum()) == (known.found, known.false_alarms)
    assert (own.sum(), (~own).sum()) == (known.images, known.others)
    tell_predictions("mine", places[:1], "table", Console(width=2000), never_miss="digit 1")
    told = capsys.readouterr().out
    percent = f"{100 * known.found / known.images:.1f} %"
    assert f"finds {known.found} of {known.images} images of digit 1 ({percent}, 95 % CI" in told
    with pytest.raises(InputError, match=r"knows no class 'digit 9'.*digit 0, digit 1, digit 2"):
        tell_predictions("mine", places[:1], "table", Console(), never_miss="digit 9")


def test_the_first_pages_answer_is_in_the_terminal(capsys):
    tell_recommendation("published/elpv_source", True, Console())
    content = json.loads(capsys.readouterr().out)
    tell_recommendation("published/elpv_source", False, Console(width=500))
    text = capsys.readouterr().out
    for sentence in (*content["sentences"], content["rule"]):
        assert sentence in text
    assert [row["freeze"] for row in content["depths"]] == [1, 2, 3, 4, 5, 6]
    tell_recommendation("published/quick", False, Console(width=500))  # of one seed
    text = capsys.readouterr().out
    assert text.count("(no interval)") == 18
    assert "nan" not in text


def test_what_a_study_is_too_small_for_comes_first_only_where_that_is_all():
    found = evidence.load("published/elpv_source")

    def said(*shown: int) -> list[str]:
        changes = {
            n: replace(unknown(""), low=-0.1 if n in shown else -2.0, high=2.0) for n in FREEZE[1:]
        }
        deepest = max(shown, default=0)
        analysis = Analysis(found)
        analysis.noninferiority = decisive.Noninferiority(deepest, [], deepest or 1, changes)
        return [
            sentence.split(" we cannot")[0].split(" stages")[0].split(":")[0]
            for sentence in analysis.recommendation.sentences
        ]

    assert said() == ["At every depth,", "Freeze nothing"]
    assert said(2, 6) == ["Freeze 6 of 7", "With 1, 3, 4 or 5 frozen"]
    assert said(1, 2, 4, 5, 6) == ["Freeze 6 of 7", "With 3 frozen"]
    assert said(*FREEZE[1:]) == ["Freeze 6 of 7"]


def test_a_depth_that_saves_no_time_is_recommended_only_where_it_raises_accuracy(monkeypatch):
    found = analysis.load("published/elpv_source").recommendation
    assert found.safe.freeze == 6
    assert found.safe.change.low > 0
    monkeypatch.setattr(recommendation, "WORTH", 101.0)
    assert found.depth == found.safe
    unclear = replace(found.safe, change=replace(found.safe.change, low=-0.1))
    other = replace(found, depths=[unclear])
    assert other.depth is None
    assert other.sentence.startswith("Freeze nothing: freezing 6 of 7 stages saves")
    assert other.rule.endswith("Here, freeze 6 passes, but saves no time.")
