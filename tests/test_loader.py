"""What lies in a study's folder is believed only if nothing contradicts it."""

import hashlib
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import PUBLISHED, TEST_IMAGES, even_metrics, save_run, use_folders, write_study

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Study
from effnet_core.study.schema import AnyRecord
from effnet_core.study.studies import load_study, read_settings
from effnet_core.training import evaluate, fit
from effnet_report.baseline import classical
from effnet_report.evidence import (
    agreement,
    evidence,
    growth,
    loader,
    locations,
    predictions,
    soundness,
)
from effnet_report.evidence import failures as notes
from effnet_report.inference import analysis
from effnet_report.inference.analysis import Analysis
from effnet_report.pages import reproducibility
from effnet_report.publishing import verify

FIRST = "01-freeze0-none-plateau-seed0"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A whole study, written once."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use_folders(root, patch)
        write_study("quick")
    return root


@pytest.fixture
def study(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)


def forge(run_id: str, *, table=None, **changes) -> AnyRecord:
    """Save a record that says something else, with right checksums."""
    path = records.record_path("quick", run_id)
    record = records.load(path)
    content = record.model_dump()
    for name, value in changes.items():
        *sections, last = name.split("__")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value(place[last]) if callable(value) else value
    data = records.predictions_path(path).read_bytes()
    if table is not None:
        frame = pd.read_csv(io.BytesIO(data))
        data = records.predictions_csv(table(frame))
        content["predictions"] = hashlib.sha256(data).hexdigest()
    forged = type(record).model_validate(content)
    path.unlink()
    records.save(forged, data)
    return forged


@pytest.mark.parametrize("study", PUBLISHED)
def test_the_committed_records_are_all_believed(study, monkeypatch):
    monkeypatch.undo()
    reference = f"published/{study}"
    found = loader.load(reference)
    assert found.set_aside == {}
    assert len(found.believed) == len(list(records.record_files(reference)))


def test_metrics_follow_from_predictions_as_scikit_learn_says(study):
    for name in (FIRST, "baseline-seed0"):
        record, content = records.load_whole(records.record_path("quick", name))
        predictions.check(record, predictions.parse(content))
    rng = np.random.default_rng(0)
    for classes in (2, 3, 9):  # of 9, some do not occur, and one is only predicted
        labels = rng.integers(0, min(classes, 6), 40)
        predicted = np.where(rng.random(40) < 0.5, labels, rng.integers(0, min(classes, 7), 40))
        wanted = evaluate.metrics(labels, predicted, loss=0.0)
        for score, value in predictions.recomputed(labels, predicted, classes).items():
            assert value == pytest.approx(getattr(wanted, score))


def all_right(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(predicted=frame["label"])


def other_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Labels turned round with the predictions, so that the metrics stay."""
    return frame.assign(label=frame["label"].to_numpy()[::-1], predicted=frame["predicted"][::-1])


BASELINE = dict(zip(("features", "classifier", "options"), soundness.BASELINE, strict=True))
EPOCH = {
    "epoch": 1,
    "learning_rate": 1e-3,
    "train_loss": 0.5,
    "validation": even_metrics(50.0).model_dump(),
}


def shorter(epochs: list[dict]) -> list[dict]:
    """Epochs that were validated on fewer images."""
    return [epoch | {"validation": epoch["validation"] | {"images": 7}} for epoch in epochs]


FORGERIES = {
    "equal classes": ({"facts__classes": lambda names: names[:1] * 2}, "have the same name"),
    "too large a share": (
        {"facts__stages": lambda stages: [stages[0] | {"flop_share": 7.0}, *stages[1:]]},
        "has impossible numbers",
    ),
    "an output of no size": (
        {"facts__stages": lambda stages: [stages[0] | {"boundary_values": -5}, *stages[1:]]},
        "has impossible numbers",
    ),
    "test accuracy": ({"outcome__test__accuracy": 100.0}, "test accuracy is 100.00 %, and"),
    "macro recall": ({"outcome__test__recall": 1.0}, "test recall is 1.00 %, and"),
    "validation": ({"outcome__validation__f1": 1.0}, "validation f1 is 1.00 %, and"),
    "predictions": ({"table": all_right}, r"accuracy is .* and 100.00 % by its predictions"),
    "number of images": ({"facts__test_images": 201}, "names 201 test images, and predicts 200"),
    "classes": ({"facts__classes": ["one"]}, "predicts classes that its 1"),
    "parameters of stages": ({"facts__total_parameters": 5}, "more parameters than its network"),
    "trained parameters": (
        {"facts__trainable_parameters": 5_000_000},
        "outside of its frozen stages",
    ),
    "an epoch of no whole image": (
        {
            "outcome__history": lambda epochs: [
                epochs[0] | {"validation": epochs[0]["validation"] | {"accuracy": 61.234567}},
                *epochs[1:],
            ]
        },
        "gives one of its accuracies",
    ),
    "first learning rate": (
        {"outcome__history": lambda epochs: [epochs[0] | {"learning_rate": 1.0}, *epochs[1:]]},
        "not those of its settings",
    ),
    "a later learning rate": (
        {"outcome__history": lambda epochs: [*epochs[:-1], epochs[-1] | {"learning_rate": -5.0}]},
        "not those of its settings",
    ),
    "a learning rate of another schedule": (
        {"outcome__history": lambda epochs: [*epochs[:-1], epochs[-1] | {"learning_rate": 5e-5}]},
        "not those of its settings",
    ),
    "fewer trained parameters": ({"facts__trainable_parameters": 7}, "does not train the"),
    "a score that others contradict": (
        {
            "outcome__history": lambda epochs: [
                epochs[0] | {"validation": epochs[0]["validation"] | {"f1": 100.0}},
                *epochs[1:],
            ]
        },
        "is 100 % and another is not",
    ),
    "best epoch": ({"outcome__best_epoch": 1}, "not the one that its settings choose"),
    "an epoch too many": ({"outcome__best_epoch": 9}, "best epoch was not trained"),
    "an epoch too few": (
        {"outcome__history": lambda epochs: epochs[:1], "outcome__best_epoch": 1},
        "trained for 1 epochs, and its settings stop training after 3",
    ),
    "a head that trained alone": (
        {"outcome__head_first": lambda _: [EPOCH]},
        "its head trained alone for 1 epochs",
    ),
    "an epoch of other images": (
        {"outcome__history": lambda epochs: [epochs[0], *shorter(epochs[1:])]},
        "an epoch was not validated on its 60 validation images",
    ),
    "a negative loss": ({"outcome__test__loss": -5.0}, "a loss of it is negative"),
    "no stages": ({"facts__stages": []}, "its network has 0 stages"),
    "more trained than there is": (
        {"facts__trainable_parameters": 10**400},
        "does not train the parameters that its network has",
    ),
    "a phase longer than the run": (
        {"made__seconds": {"train": 2.0, "total": 1.0}},
        "takes longer than the run",
    ),
    "no time of training": ({"made__seconds": {"total": 1.0}}, "lacks the time of train"),
    "best of cycle": ({"outcome__best_of_cycle__accuracy": 99.0}, "best accuracy is not"),
    "a column less": (
        {"table": lambda frame: frame.assign(part="train")},
        "not a table of validation and test",
    ),
    "an image twice": (
        {"table": lambda f: f.assign(image=f["image"].where(f.index != 1, f["image"][0]))},
        "names an image twice",
    ),
    "a test image that chose the epoch": (
        {"table": lambda f: f.assign(image=f["image"].where(f.index != 0, f["image"].iloc[-1]))},
        "names an image twice",
    ),
    "a confidence above 1": (
        {"table": lambda f: f.assign(confidence=1.9)},
        "does not end in label, predicted and probabilities",
    ),
    "a confidence in words": (
        {"table": lambda f: f.assign(confidence="0abc")},
        "does not end in label, predicted and probabilities",
    ),
    "no number": ({"table": lambda f: f.assign(predicted="x")}, "a number is missing"),
}


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(("changes", "why"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_record_that_contradicts_itself_is_damaged(study, changes, why):
    forge(FIRST, **changes)
    found = loader.load("quick")
    assert list(found.damaged) == [FIRST]
    assert FIRST not in found.believed
    assert re.search(why, found.damaged[FIRST])


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    "change",
    [
        {"outcome__candidates": []},
        {"outcome__classifier": "another"},
        {"outcome__options": {"C": 2.0}},
        {"outcome__candidates": lambda c: [c[0] | {"cv_accuracy": 99.0}, *c[1:]]},
    ],
    ids=["no candidates", "another model", "other options", "a better candidate"],
)
def test_only_the_best_candidate_is_the_classical_model(study, change):
    forge("classical-seed0", **change)
    assert "not the best of its candidates" in loader.load("quick").damaged["classical-seed0"]


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    ("features", "lacking", "why"),
    [
        ("frozen network", 0, ""),
        ("pixels", 0, "not the best of its candidates"),
        ("another", 0, "not the best of its candidates"),
        ("frozen network", 1, "different numbers of images"),
        ("frozen network", -0.5, "gives one of its accuracies"),
    ],
)
def test_the_model_on_other_features_is_one_of_the_candidates(study, features, lacking, why):
    outcome = records.load(records.record_path("quick", "classical-seed0")).outcome
    learned = outcome.candidates[0].model_dump() | {"features": "frozen network"}
    model = {name: learned[name] for name in ("features", "classifier", "options")}
    scores = {
        "validation": outcome.validation.model_dump(),
        "test": outcome.test.model_dump() | {"images": outcome.test.images - max(0, lacking)},
    }
    scores["test"]["accuracy"] += min(0, lacking) / 3
    forge(
        "classical-seed0",
        outcome__candidates=lambda candidates: [learned, *candidates[1:]],
        outcome__on_other_features=lambda _: model | scores | {"features": features},
    )
    damaged = loader.load("quick").damaged
    assert why in damaged["classical-seed0"] if why else not damaged


@pytest.mark.fault("forged records")
def test_baseline_and_best_classical_model_cannot_be_exchanged(study):
    best = records.load(records.record_path("quick", "classical-seed0")).outcome.model_dump()
    forge("baseline-seed0", outcome__candidates=best["candidates"])
    forge("classical-seed0", outcome__candidates=best["candidates"][2:3])
    damaged = loader.load("quick").damaged
    assert all("one alone" in damaged[f"{kind}-seed0"] for kind in ("baseline", "classical"))


@pytest.mark.fault("forged records")
def test_the_whole_baseline_cannot_be_exchanged_for_the_best_model(study):
    outcomes = {
        kind: records.load(records.record_path("quick", f"{kind}-seed0")).outcome.model_dump()
        for kind in ("baseline", "classical")
    }
    best, baseline = outcomes["classical"], outcomes["baseline"]
    forge("baseline-seed0", outcome=best | {"candidates": best["candidates"][:1]})
    forge("classical-seed0", outcome=baseline | {"candidates": 2 * baseline["candidates"]})
    assert {*loader.load("quick").damaged} == {"baseline-seed0", "classical-seed0"}


def test_the_baseline_is_known_without_scikit_learn():
    assert classical.BASELINE == soundness.BASELINE
    assert soundness.BASELINE[0] not in classical.FEATURES


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda candidates: [*candidates, candidates[0]], "listed twice"),
        (lambda candidates: [*candidates, candidates[0] | BASELINE], "is among the candidates"),
        (lambda candidates: [candidates[0] | {"cv_sd": -3.0}, *candidates[1:]], "is impossible"),
        (lambda candidates: [candidates[0] | {"cv_sd": 900.0}, *candidates[1:]], "is impossible"),
        (lambda candidates: [candidates[0] | {"seconds": -9.0}, *candidates[1:]], "is impossible"),
    ],
    ids=["one twice", "the baseline", "no spread", "too much spread", "no time"],
)
def test_impossible_candidates_are_noticed(study, change, why):
    forge("classical-seed0", outcome__candidates=change)
    assert why in loader.load("quick").damaged["classical-seed0"]


@pytest.mark.fault("forged records")
def test_two_images_are_not_read_as_one_with_a_line_break_in_its_name(study):
    path = records.record_path("quick", FIRST)
    record = records.load(path)
    *lines, first, second, _ = records.predictions_path(path).read_bytes().split(b"\n")
    part, name, *rest = second.split(b",")
    joined = [first.replace(b",", b',"', 1), b",".join([part, name + b'"', *rest]), b""]
    data = b"\n".join([*lines, *joined])
    assert len(pd.read_csv(io.BytesIO(data))) == len(lines)  # one row less
    path.unlink()
    records.save(record.model_copy(update={"predictions": hashlib.sha256(data).hexdigest()}), data)
    assert "a name has a line break in it" in loader.load("quick").damaged[FIRST]


@pytest.mark.fault("forged records")
def test_a_worse_epoch_is_never_the_best(study):
    outcome = records.load(records.record_path("quick", FIRST)).outcome.model_dump()
    perfect = dict.fromkeys(("accuracy", "precision", "recall", "f1"), 100.0)
    other = 0 if outcome["best_epoch"] > 1 else 1
    outcome["history"][other]["validation"] |= perfect
    outcome["best_of_cycle"] = dict.fromkeys(outcome["best_of_cycle"], 100.0)
    forge(FIRST, outcome=outcome)
    assert "not the one that its settings choose" in loader.load("quick").damaged[FIRST]


RACES = {  # the history starts with 1e-4 and has a validation loss of 0.4
    "won by the lowest loss": ([1e-4, 3e-4], [0.4, 0.5], ""),
    "one rate diverged": ([1e-4, 3e-4], [0.4, None], ""),
    "won by a higher loss": ([1e-4, 3e-4], [0.4, 0.3], "did not win its race"),
    "of another loss": ([1e-4, 3e-4], [0.2, 0.5], "did not win its race"),
    "all diverged": ([1e-4, 3e-4], [None, None], "did not win its race"),
    "a heat is missing": ([1e-4, 3e-4], [0.4], "not one of the learning rates"),
    "no race": (1e-4, [0.4], "not one of the learning rates"),
}


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(("rates", "losses", "why"), RACES.values(), ids=RACES.keys())
def test_only_the_lowest_validation_loss_wins_a_race(study, rates, losses, why):
    race = [
        {"learning_rate": rate, "validation_loss": loss}
        for rate, loss in zip((1e-4, 3e-4), losses, strict=False)
    ]
    forge(FIRST, settings__learning_rate=rates, outcome__race=race)
    damaged = loader.load("quick").damaged
    assert list(damaged) == ([FIRST] if why else [])
    assert why in damaged.get(FIRST, "")


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    "odd",
    [{"finished": "yesterday"}, {"seconds": {"train": -5.0, "total": 1.0}}, {"peak_memory_mb": -1}],
    ids=lambda odd: next(iter(odd)),
)
def test_a_record_of_an_impossible_time_or_size_is_damaged(study, odd):
    path = records.record_path("quick", FIRST)
    content = json.loads(path.read_text())
    content["made"] |= odd
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    assert f"not a valid record: made.{next(iter(odd))}" in loader.load("quick").damaged[FIRST]


@pytest.mark.fault("forged records")
def test_a_name_that_is_no_text_is_damage(study):
    path = records.record_path("quick", FIRST)
    data = records.predictions_path(path).read_bytes().replace(b"test-0,", b"test-\xe9,")
    content = json.loads(path.read_text()) | {"predictions": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    records.predictions_path(path).write_bytes(data)
    assert "a name cannot be read" in loader.load("quick").damaged[FIRST]


@pytest.mark.fault("forged records")
def test_an_image_that_is_hidden_in_the_line_of_another_is_damage(study):
    """Two lines become one, and the image in the middle of it counts no more."""
    path = records.record_path("quick", FIRST)
    record, data = records.load_whole(path)
    lines, _, last = data.rpartition(b"\ntest,")
    merged = lines + b"test," + last
    facts = record.facts.model_copy(update={"test_images": record.facts.test_images - 1})
    digest = hashlib.sha256(merged).hexdigest()
    forged = record.model_copy(update={"predictions": digest, "facts": facts})
    overwrite(path, forged, merged)
    assert "a line has another number of columns" in loader.load("quick").damaged[FIRST]


@pytest.mark.fault("forged records")
def test_lines_merged_without_their_numbers_are_damage_beside_genuine_records(study):
    """`test,a,0,1,0.6,` and `test,b,0,0,0.7,` become `test,a,0test,b,0,0,0.7,`."""
    assert loader.load("quick").damaged == {}  # the list of images is known as a genuine one
    path = records.record_path("quick", FIRST)
    record, data = records.load_whole(path)
    lines, _, last = data.rpartition(b"\ntest,")
    kept, _, cut = lines.rpartition(b"\ntest,")
    merged = kept + b"\ntest," + b",".join(cut.split(b",")[:2]) + b"test," + last
    facts = record.facts.model_copy(update={"test_images": record.facts.test_images - 1})
    digest = hashlib.sha256(merged).hexdigest()
    forged = record.model_copy(update={"predictions": digest, "facts": facts})
    overwrite(path, forged, merged)
    assert "a line has another number of columns" in loader.load("quick").damaged[FIRST]


ODD_NUMBERS = ("0.5-", "0..5", "0e", "1e5", "1e999", "05", "0.5e-", "0.5e-05e-05", "0.5.5", ".5",
               "0.5e05", "-0.5", "0.", "1e-", "00.5")  # fmt: skip


@pytest.mark.fault("forged records")
@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_what_is_no_probability_is_damage(number):
    table = "part,image,label,predicted,confidence,label_probability\n"
    whole = "validation,a,0,0,0.5,\ntest,b,1,0,{},{}\n"
    predictions.parse((table + whole.format("0.75", "0.25")).encode())
    predictions.parse((table + whole.format("1", "5e-10")).encode())
    for odd in (whole.format(number, "0.25"), whole.format("0.75", number)):
        with pytest.raises(ValueError, match=r"probabilities|number|table|column"):
            predictions.parse((table + odd).encode())


@pytest.mark.fault("forged records")
@pytest.mark.parametrize("number", ["9", "5.0", "1.5"])
def test_no_label_has_a_probability_above_one(number):
    table = "part,image,label,predicted,confidence,label_probability\n"
    with pytest.raises(ValueError, match="probabilities"):
        predictions.parse(f"{table}test,b,1,0,0.75,{number}\n".encode())


@pytest.mark.fault("forged records")
def test_half_a_character_in_a_record_is_damage(study):
    path = records.record_path("quick", FIRST)
    content = json.loads(path.read_text())
    content["made"]["commit"] = "\ud800"
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    assert "not a complete JSON record" in loader.load("quick").damaged[FIRST]
    content["made"]["commit"] = r"\ud800"
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    assert loader.load("quick").damaged == {}


def test_predictions_that_cannot_be_read_are_named(study, monkeypatch):
    read_bytes = Path.read_bytes

    def read(path):
        if path.name == f"{FIRST}.predictions.csv":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    found = loader.load("quick")
    assert "cannot be read: Permission denied" in found.damaged[FIRST]
    assert len(found.believed) == 29


@pytest.mark.fault("records of something else")
def test_seeds_with_other_test_images_are_not_mixed(study):
    """Parts that change in a table leave the fingerprint of the images as it is."""
    second = [run.model_copy(update={"seed": 1}) for run in [*load_study("quick").runs()][:2]]
    for settings in second:
        save_run(settings)
    design = load_study("quick").model_copy(update={"seeds": [0, 1]})
    assert loader.load("quick", design).disagreeing == {}
    for settings in second:
        path = records.record_path("quick", settings.run_id)
        record, data = records.load_whole(path)
        data = data.replace(b"\ntest,test-", b"\ntest,other-")
        digest = hashlib.sha256(data).hexdigest()
        overwrite(path, record.model_copy(update={"predictions": digest}), data)
    found = loader.load("quick", design)
    assert list(found.disagreeing) == [settings.run_id for settings in second]
    assert "has other test images" in next(iter(found.disagreeing.values()))


@pytest.fixture
def two_folds(tmp_path, monkeypatch) -> Study:
    """Two runs of each of two seeds that test different folds, and the classical models."""
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    (tmp_path / "mine.yml").write_text(
        "title: Mine\nseeds: [0, 1]\n"
        "factors: {freeze: [5, 6], head: [none], scheduler: [plateau]}\n"
        "protocol: {dataset: digits, image_size: 32, folds: 2}\n"
    )
    write_study("mine")
    assert loader.load("mine").set_aside == {}
    return load_study("mine")


def copied(record: AnyRecord, seed: int, **changes) -> AnyRecord:
    """The record of one seed under the name of another seed."""
    settings = record.settings.model_copy(update={"seed": seed})
    run_id = record.run_id.replace("seed0", f"seed{seed}")
    return record.model_copy(update={"settings": settings, "run_id": run_id} | changes)


@pytest.mark.fault("records of something else")
def test_the_records_of_a_seed_are_not_believed_as_those_of_another(two_folds):
    """All records of seed 0 become seed 1, with its split and other names of the images."""
    split = records.load(records.record_path("mine", "classical-seed1")).fingerprints.split
    for path in [*records.record_files("mine")]:
        if path.stem.endswith("seed0"):
            record, data = records.load_whole(path)
            data = data.replace(b"-", b"-x")
            prints = record.fingerprints.model_copy(update={"split": split})
            digest = hashlib.sha256(data).hexdigest()
            forged = copied(record, 1, fingerprints=prints, predictions=digest)
            overwrite(records.record_path("mine", forged.run_id), forged, data)
    found = loader.load("mine")
    runs = [run.run_id for run in two_folds.runs() if run.seed == 1]
    assert found.disagreeing.keys() == {*runs, *(run.replace("seed1", "seed0") for run in runs)}
    assert all("has the trained weights of" in why for why in found.disagreeing.values())
    with pytest.raises(InputError, match="one of the two is a copy"):
        found.check_agreement()


@pytest.mark.fault("records of something else")
@pytest.mark.parametrize("kept", [0, TEST_IMAGES - 1], ids=["all images", "one image"])
def test_two_folds_test_no_image_twice(two_folds, kept):
    """The test images of seed 1 get the names of those of seed 0, but for some of them."""
    second = [path for path in records.record_files("mine") if path.stem.endswith("seed1")]
    for path in second:
        record, data = records.load_whole(path)
        for number in range(TEST_IMAGES - kept):
            was, now = (f"\ntest,test-{first + number}," for first in (TEST_IMAGES, 0))
            data = data.replace(was.encode(), now.encode())
        digest = hashlib.sha256(data).hexdigest()
        overwrite(path, record.model_copy(update={"predictions": digest}), data)
    found = loader.load("mine")
    assert set(found.disagreeing) == {path.stem for path in records.record_files("mine")}
    assert "tests too, though their folds differ" in found.disagreeing[second[0].stem]
    with pytest.raises(InputError, match=r"8 records disagree"):
        found.check_agreement()
    second[0].unlink()  # the other seed has more records now
    found = loader.load("mine")
    assert set(found.disagreeing) == {path.stem for path in second[1:]}


@pytest.fixture
def four_folds(tmp_path) -> dict[int, list[Path]]:
    """Three runs of each fold of the published study of solar cells, by fold."""
    there, here = Path(__file__).parents[1] / "results/published/elpv_source", paths.RESULTS
    (here / "elpv_source").mkdir(parents=True)
    for path in there.glob("0[125]-*"):
        shutil.copy(path, here / "elpv_source")
    assert loader.load("elpv_source").set_aside == {}
    found = [*records.record_files("elpv_source")]
    return {n: [p for p in found if p.stem.endswith(f"seed{n}")] for n in range(4)}


def retell(path: Path, change, more_training: int = 0) -> None:
    """Change a record's table of predictions, and all numbers that follow from it."""
    record, data = records.load_whole(path)
    table = change(predictions_of(data))
    data = records.predictions_csv(table)
    rows = table[table["part"] == "test"]
    scores = predictions.recomputed(rows["label"].to_numpy(), rows["predicted"].to_numpy(), 2)
    test = record.outcome.test.model_copy(update=scores | {"images": len(rows)})
    images = {
        "test_images": len(rows),
        "train_images": record.facts.train_images + more_training,
    }
    facts = record.facts.model_copy(update=images)
    changes = {
        "outcome": record.outcome.model_copy(update={"test": test}),
        "facts": facts,
        "predictions": hashlib.sha256(data).hexdigest(),
    }
    overwrite(path, record.model_copy(update=changes), data)


def predictions_of(data: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(data), dtype={"image": str}, keep_default_na=False)


@pytest.mark.fault("records of something else")
def test_labels_of_one_folds_test_images_cannot_be_improved(four_folds):
    """All records of a fold call right what its first record predicts; other folds know better."""
    table = predictions_of(records.load_whole(four_folds[1][0])[1])
    wrong = table[(table["part"] == "test") & (table["label"] != table["predicted"])]["image"][:40]

    def improve(table: pd.DataFrame) -> pd.DataFrame:
        chosen = table["image"].isin(wrong)
        table.loc[chosen, "label"] = 1 - table.loc[chosen, "label"]
        right = table["label"] == table["predicted"]
        return table.assign(label_probability=np.where(right, "", "0.3"))

    for path in four_folds[1]:
        retell(path, improve)
    loaded = loader.load("elpv_source")
    assert loaded.damaged == {}
    assert set(loaded.disagreeing) == {path.stem for path in four_folds[1]}
    assert "labels images otherwise than most" in loaded.disagreeing[four_folds[1][0].stem]


@pytest.mark.fault("records of something else")
@pytest.mark.parametrize("as_training", [False, True])
@pytest.mark.parametrize("validated", [False, True])
def test_no_fold_can_leave_out_the_test_images_that_are_hard(four_folds, as_training, validated):
    """Whether or not others validate on them, and the records count them as training images."""
    table = predictions_of(records.load_whole(four_folds[2][0])[1])
    wrong = table[(table["part"] == "test") & (table["label"] != table["predicted"])]["image"]
    others = predictions_of(b"".join(records.load_whole(four_folds[n][0])[1] for n in (0, 1, 3)))
    hard = wrong[wrong.isin(others["image"]) == validated][:20]
    assert len(hard) > 5
    for path in four_folds[2]:
        more = len(hard) if as_training else 0
        retell(path, lambda table: table[~table["image"].isin(hard)], more)
    loaded = loader.load("elpv_source")
    assert set(loaded.disagreeing) == {path.stem for path in four_folds[2]}
    why = "all 4 folds together test"
    if not as_training:
        why = "has other number of images in all parts"
    assert why in loaded.disagreeing[four_folds[2][0].stem]


@pytest.mark.fault("records of something else")
def test_of_a_fold_that_exchanged_its_hard_test_images_nothing_is_believed(four_folds):
    """One other fold validates on some of them; which of the two is wrong, no list says."""
    table = predictions_of(records.load_whole(four_folds[2][0])[1])
    known = predictions_of(records.load_whole(four_folds[0][0])[1])["image"]
    wrong = (table["part"] == "test") & (table["label"] != table["predicted"])
    hard = table[wrong & table["image"].isin(known)]["image"][:20]

    def exchanged(table: pd.DataFrame) -> pd.DataFrame:
        chosen = table["image"].isin(hard)
        predicted = table["predicted"].where(~chosen, table["label"])
        said = np.where(predicted == table["label"], "", "0.3")
        names = table["image"].where(~chosen, "easy-" + table["image"])
        return table.assign(image=names, predicted=predicted, label_probability=said)

    for path in four_folds[2]:
        retell(path, exchanged)
    loaded = loader.load("elpv_source")
    assert loaded.damaged == {}
    assert {path.stem for path in four_folds[2]} <= loaded.disagreeing.keys()
    assert "images that no fold tests" in loaded.disagreeing[four_folds[2][0].stem]


@pytest.mark.fault("records of something else")
def test_no_fold_can_gain_test_images_that_are_easy(four_folds):
    def with_easy(table: pd.DataFrame) -> pd.DataFrame:
        easy = table[table["label"] == table["predicted"]][-30:]
        return pd.concat([table, easy.assign(image=[f"easy-{n}" for n in range(30)])])

    for path in four_folds[1]:
        retell(path, with_easy, -30)
    loaded = loader.load("elpv_source")
    assert set(loaded.disagreeing) == {path.stem for path in four_folds[1]}
    assert "all 4 folds together test 2654 of 2624" in loaded.disagreeing[four_folds[1][0].stem]


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"facts__train_images": 5}, "numbers of images"),
        ({"facts__stages": lambda stages: stages[::-1]}, "stages"),
        (
            dict.fromkeys(("facts__total_parameters", "facts__trainable_parameters"), 5_000_000),
            "number of parameters",
        ),
    ],
)
def test_facts_that_other_records_contradict_are_noticed(study, changes, what):
    """Of two records, the older is kept: one of the two is set aside."""
    forge(FIRST, **changes)
    assert f"has other {what} than" in " ".join(loader.load("quick").disagreeing.values())


@pytest.mark.fault("records of something else")
def test_a_depth_has_not_the_outcome_of_another(study):
    given = records.load(records.record_path("quick", FIRST))
    table = records.load_whole(records.record_path("quick", FIRST))[1]
    path = records.record_path("quick", "25-freeze6-none-plateau-seed0")
    record = records.load(path)
    taken = {name: getattr(given, name) for name in ("outcome", "predictions", "made")}
    overwrite(path, record.model_copy(update=taken), table)
    loaded = loader.load("quick")
    assert loaded.damaged == {}
    assert loaded.disagreeing.keys() == {given.run_id, record.run_id}
    assert "trained in another way" in next(iter(loaded.disagreeing.values()))


@pytest.fixture
def pilot() -> dict[str, Path]:
    """The runs of one seed of the published pilot in which nothing is frozen, by name."""
    there = Path(__file__).parents[1] / "results/published/recipe"
    here = paths.RESULTS / "recipe"
    here.mkdir(parents=True)
    for path in there.glob("*-freeze0-*-seed0.*"):
        shutil.copy(path, here)
    shutil.copy(there / "study.yml", here)
    found = {path.stem: path for path in records.record_files("recipe")}
    assert loader.load("recipe").believed.keys() == found.keys()
    assert len(found) == 12
    return found


@pytest.mark.fault("records of something else")
@pytest.mark.parametrize("factor", ["norm_statistics", "augment", "learning_rate"])
def test_a_level_has_not_the_outcome_of_another(pilot, factor):
    """The record of one run gets all that another has come to, its rates too."""
    read = {name: records.load_whole(path) for name, path in pilot.items()}
    (record, table), *_ = read.values()
    levels = {name: it[0].settings.levels | {factor: ""} for name, it in read.items()}
    fellows = [name for name in levels if levels[name] == levels[record.run_id]]
    name = next(name for name in fellows if name != record.run_id)
    other, _ = read[name]
    share = other.settings.rates[0] / record.settings.rates[0]
    history = [
        epoch.model_copy(update={"learning_rate": epoch.learning_rate * share})
        for epoch in record.outcome.history
    ]
    outcome = record.outcome.model_copy(update={"history": history})
    taken = {"outcome": outcome, "predictions": record.predictions}
    overwrite(pilot[name], other.model_copy(update=taken), table)
    loaded = loader.load("recipe")
    assert loaded.damaged == {}
    assert loaded.disagreeing.keys() == {record.run_id, name}
    assert "trained in another way" in next(iter(loaded.disagreeing.values()))


@pytest.mark.fault("records of something else")
def test_one_record_with_an_early_date_outvotes_no_others(four_folds):
    """It tests an image of another fold, and validates on one that nobody knows."""
    forged, *others = four_folds[3]
    for path in others:
        path.unlink()
        records.predictions_path(path).unlink()
    record, data = records.load_whole(forged)
    table = predictions_of(data)
    tested = predictions_of(records.load_whole(four_folds[0][0])[1])
    for part, name in (("test", tested["image"].iloc[-1]), ("validation", "nobody-knows")):
        row = table.index[table["part"] == part][0]
        now = records.predictions_csv(
            table.assign(image=table["image"].where(table.index != row, name))
        )
        changes = {
            "predictions": hashlib.sha256(now).hexdigest(),
            "made": record.made.model_copy(update={"finished": "2001-01-01T00:00:00+00:00"}),
        }
        overwrite(forged, record.model_copy(update=changes), now)
        assert loader.load("elpv_source").disagreeing.keys() == {forged.stem}


def test_many_classes_need_no_memory():
    scores = predictions.recomputed(np.array([0, 299_999]), np.array([0, 5]), 300_000)
    assert scores["accuracy"] == 50
    assert scores["recall"] == pytest.approx(100 / 3)


@pytest.mark.fault("forged records")
@pytest.mark.parametrize("classes", [256, 300, 1100])
def test_any_number_of_classes_is_read_as_it_is_written(classes):
    labels = np.arange(classes)
    table = pd.DataFrame(
        {
            "part": "test",
            "image": [f"{label}.png" for label in labels],
            "label": labels,
            "predicted": labels,
            "confidence": 0.5,
            "label_probability": "",
        }
    )
    parsed = predictions.parse(records.predictions_csv(table))
    assert np.array_equal(parsed.labels, labels)
    assert np.array_equal(parsed.predicted, labels)


@pytest.mark.fault("records of something else")
def test_a_sweep_trains_no_seed_with_another_split_than_its_records(study):
    found = loader.load("quick")
    recorded = found.believed[FIRST].fingerprints.split
    found.check_split(0, recorded)
    found.check_split(1, "e" * 64)
    with pytest.raises(InputError, match="parts or groups of the images have changed"):
        found.check_split(0, "e" * 64)


@pytest.mark.parametrize("accuracy", [100.1, -0.1])
def test_no_metric_is_below_0_or_above_100_per_cent(accuracy):
    with pytest.raises(ValueError, match="accuracy"):
        even_metrics(accuracy)


DISAGREEMENTS = {
    "other dropout": ({"settings__dropout": 0.5}, "dropout 0.5 -> 0.3"),
    "another data set": ({"settings__dataset": "digits"}, "dataset digits -> elpv"),
    "another study": ({"settings__study": "elpv"}, "was made for study elpv"),
    "other images": ({"fingerprints__data": "d" * 64}, "has other images than the 29 records"),
    "other classes": ({"facts__classes": ["no", "yes"]}, "has other classes than the 29"),
    "other weights": ({"fingerprints__weights": "d" * 64}, "has other weights than the 29"),
    "another split": ({"fingerprints__split": "d" * 64}, "has other split than the 29"),
    "other labels": ({"table": other_labels}, "has other images or labels in its predictions"),
}


@pytest.mark.fault("records of something else")
@pytest.mark.parametrize(("changes", "why"), DISAGREEMENTS.values(), ids=DISAGREEMENTS.keys())
@pytest.mark.parametrize("run_id", [FIRST, "classical-seed0"])
def test_a_record_that_disagrees_is_named_and_kept_from_every_figure(study, run_id, changes, why):
    path = records.record_path("quick", run_id)
    before = path.read_bytes()
    if changes == DISAGREEMENTS["other labels"][0]:
        forged, data = mirrored(run_id)
    else:
        content = records.load(path).model_dump()
        *sections, last = next(iter(changes)).split("__")
        content[sections[0]][last] = next(iter(changes.values()))
        forged = type(records.load(path)).model_validate(content)
        data = records.predictions_path(path).read_bytes()
    overwrite(path, forged, data)
    assert path.read_bytes() != before
    found = loader.load("quick")
    assert list(found.disagreeing) == [run_id]
    assert why in found.disagreeing[run_id]
    assert run_id not in found.believed
    with pytest.raises(InputError, match=f"{run_id}.*Move it and its predictions"):
        found.check_agreement()
    shown = evidence.load("quick")
    assert run_id not in {record.run_id for record in shown.everything}
    assert run_id in reproducibility.missing(Analysis(shown)).data


def mirrored(run_id: str) -> tuple[AnyRecord, bytes]:
    """The record, of predictions whose labels belong to other images and whose metrics fit."""
    record, content = records.load_whole(records.record_path("quick", run_id))
    frame = pd.read_csv(io.BytesIO(content))
    for part in ("validation", "test"):
        rows = frame["part"] == part
        frame.loc[rows, ["label", "predicted"]] = frame.loc[rows, ["label", "predicted"]][
            ::-1
        ].to_numpy()
    data = records.predictions_csv(frame)
    return record.model_copy(update={"predictions": hashlib.sha256(data).hexdigest()}), data


def overwrite(path, record: AnyRecord, data: bytes) -> None:
    """Put a record with a right checksum at any place, as a copy or an attack would."""
    content = record.model_dump(mode="json")
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    records.predictions_path(path).write_bytes(data)


@pytest.mark.fault("records of something else")
def test_images_that_changed_during_a_study_are_not_mixed(study):
    runs = list(load_study("quick").runs())
    for settings in runs[20:]:
        forge(settings.run_id, fingerprints__data="d" * 64)
    found = loader.load("quick")
    assert set(found.disagreeing) == {settings.run_id for settings in runs[20:]}
    shown = evidence.load("quick")
    assert len(shown.finished) == 20
    assert shown.status(runs[25].run_id) == "set aside"
    with pytest.raises(InputError, match=r"8 records disagree"):
        found.check_agreement()


@pytest.mark.fault("records of something else")
def test_a_seed_that_the_design_does_not_name_is_not_counted(study):
    settings = next(load_study("quick").runs()).model_copy(update={"seed": 7})
    save_run(settings)
    found = loader.load("quick")
    assert list(found.uncounted) == [settings.run_id]
    assert "no run that the design names" in found.set_aside[settings.run_id]
    found.check_agreement()
    assert settings.run_id in reproducibility.missing(analysis.load("quick")).data


@pytest.mark.fault("records of something else")
def test_a_classical_record_of_other_images_is_not_that_of_a_new_design(study):
    record = records.load(records.record_path("quick", "classical-seed0"))
    size = record.settings.image_size
    design = load_study("quick")
    for first, told in ((size, ""), (size + 32, f"image_size {size} -> {size + 32}")):
        factors = {"image_size": [first, 32], "freeze": [6]}
        edited = design.model_copy(update={"factors": factors})
        assert loader._of_another_design(record, edited, "quick").endswith(told)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_odd_files_beside_records_hang_nothing(study, make):
    for path in (locations.calibration("quick"), locations.growth("quick")):
        make(path)
    found = analysis.load("quick").evidence
    assert found.calibrated is None
    assert growth.load(found) is None
    make(locations.verification("quick", "any"))
    with pytest.raises(InputError, match=r"verification-any\.json is damaged"):
        _ = found.verifications


def test_odd_files_in_place_of_a_record_are_named_and_hang_nothing(study):
    folder = records.record_path("quick", FIRST).parent
    (folder / "folder-seed0.json").mkdir()
    os.mkfifo(folder / "pipe-seed0.json")
    (folder / "link-seed0.json").symlink_to("nowhere")
    (folder / "deep-seed0.json").write_text("[" * 100_000 + "]" * 100_000)
    (folder / "long-seed0.json").write_text('{"checksum": 1' + "0" * 5000 + "}")
    os.mkfifo(folder / "pipe.failed.json")
    (folder / "deep.failed.json").write_text('{"error":' * 50_000)
    (folder / "odd.failed.json").write_text('{"error": {"a": 1}}')
    found = loader.load("quick")
    assert set(found.damaged) == {f"{n}-seed0" for n in ("folder", "pipe", "link", "deep", "long")}
    assert len(found.believed) == 30
    failures = notes.load("quick")
    assert set(failures) == {"pipe", "deep", "odd"}
    assert all("is damaged. Delete it." in text for text in failures.values())


def test_a_study_of_your_own_is_found_by_its_records(own_folders):
    study = own_folders / "mine.yml"
    study.write_text("title: Mine\nseeds: [0]\nprotocol: {dataset: digits, image_size: 32}\n")
    with pytest.raises(InputError, match="no study 'mine'"):
        loader.load_design("mine")
    paths.design("mine").parent.mkdir(parents=True)
    paths.design("mine").symlink_to(study)
    assert loader.load_design("mine").title == loader.load_design("mine~0a1b2c").title == "Mine"


def test_a_study_named_after_another_is_no_variant_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    for name in ("mine", "mine-2", "mine-0a1b2c3d4e5f"):
        content = f"title: {name}\nseeds: [0]\nprotocol: {{dataset: digits, image_size: 32}}\n"
        (tmp_path / f"{name}.yml").write_text(content)
    for name in ("mine", "mine-2", "mine-0a1b2c3d4e5f"):
        variant = read_settings({"study": name, "epochs": 3}).study
        assert variant.startswith(f"{name}~")
        assert loader.load_design(name).title == loader.load_design(variant).title == name
        assert loader.load(name).design.name == name
    with pytest.raises(InputError, match="no study 'mine-3'"):
        loader.load_design("mine-3")
    (tmp_path / "mine~2.yml").write_text(content)
    with pytest.raises(InputError, match="mine~2"):
        load_study("mine~2")


def test_records_in_a_linked_folder_are_verified(study, tmp_path):
    folder = paths.records("quick")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert len(verify._chosen("quick", [], None)) == 30


def test_the_head_alone_trains_at_the_rate_that_is_checked():
    assert soundness.HEAD_RATE == fit.HEAD_RATE


@pytest.mark.parametrize(
    ("setting", "levels", "labels", "same"),
    [
        ("class_weights", ("none", "balanced"), {"a": "0", "b": "1"}, True),
        ("class_weights", ("none", "balanced"), dict.fromkeys("abcd", "0") | {"e": "1"}, False),
        ("batch_size", (179, 500), {"a": "0", "b": "1"}, True),
        ("batch_size", (4, 500), {"a": "0", "b": "1"}, False),
        ("dropout", (0.1, 0.5), {"a": "0", "b": "1"}, True),
        ("augment", ("none", "flips"), {"a": "0", "b": "1"}, False),
        ("weights", ("packaged", "same.safetensors"), {"a": "0", "b": "1"}, True),
    ],
)
def test_equal_weights_are_no_copy_where_a_setting_changes_nothing(
    study, setting, levels, labels, same
):
    sound = soundness.read(records.record_path("quick", FIRST))
    found = {}
    for place, level in enumerate(levels):
        settings = sound.record.settings.model_copy(update={setting: level})
        record = sound.record.model_copy(update={"settings": settings, "run_id": str(place)})
        listed = sound.listed._replace(labels=labels)
        found[str(place)] = sound._replace(record=record, listed=listed)
    assert agreement._same_weights(found).keys() == (set() if same else {"0", "1"})
