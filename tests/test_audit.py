"""An audit finds what was planted: wrong labels, copies with another label, cues."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from effnet_core.data.datasets import Dataset, imagefolder
from effnet_core.errors import InputError
from effnet_report.audit import cues, tell
from effnet_report.audit.judgements import Judgements, _vectors, judgements
from effnet_report.evidence import evidence
from effnet_report.render import cards


@pytest.fixture(scope="module")
def doubted() -> Judgements:
    """300 images of three classes, of which the first ten of each class have a wrong label."""
    pytest.importorskip("cleanlab", reason="the extra `audit` is not installed")
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    labels = np.where(np.arange(300) < 30, (truth + 1) % 3, truth)
    logits = rng.normal(size=(300, 3)) + 3 * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    votes = (8 * probabilities).round() / 8
    votes[:, 0] += 1 - votes.sum(axis=1)
    names = pd.Index([f"{index:03d}.png" for index in range(300)])
    runs = np.full(300, 8)
    return Judgements(["a", "b", "c"], names, labels, runs, probabilities, votes)


def test_planted_errors_come_first(doubted):
    first = doubted.suspects["image"].head(20)
    assert (first < "030.png").mean() >= 0.95
    top = doubted.suspects.iloc[0]
    assert top["suspected"]
    assert top["suggested_probability"] > top["probability"]
    assert doubted.suspects["suspected"].iloc[:20].all()
    assert not doubted.suspects["suspected"].iloc[-200:].any()


def test_checking_the_suspects_is_expected_to_raise_accuracy_towards_the_truth(doubted):
    truth = np.arange(300) % 3
    true_accuracy = doubted.votes[np.arange(300), truth].mean()
    assert doubted.accuracy + 0.05 < doubted.corrected_accuracy
    assert doubted.corrected_accuracy == pytest.approx(true_accuracy, abs=0.02)


def test_what_predictions_state_is_exact_and_the_rest_is_spread():
    table = pd.DataFrame(
        {"label": [0, 0], "predicted": [0, 1], "confidence": [0.9, 0.7]}, index=["x", "y"]
    )
    assert _vectors(table, 2) == pytest.approx(np.array([[0.9, 0.1], [0.3, 0.7]]))
    stated = table.assign(label_probability=[0.9, 0.2])
    assert _vectors(stated, 4)[1] == pytest.approx([0.2, 0.7, 0.05, 0.05])
    assert _vectors(stated, 4)[0, 1:] == pytest.approx([0.1 / 3] * 3)


def test_judgements_of_a_study_are_means_over_its_runs():
    found = evidence.load("published/quick")
    said = judgements(found)
    right = found.correct(found.finished)
    tested = said.names.isin(right.index)
    votes = pd.Series(said.of_label(said.votes), said.names)
    assert votes[tested].to_numpy() == pytest.approx(right[said.names[tested]].to_numpy())
    assert set(said.runs) == {len(found.finished)}
    assert said.probabilities.sum(axis=1) == pytest.approx(1)


def dataset(pixels: np.ndarray, labels: list[int], names: list[str]) -> Dataset:
    return Dataset("own", ["a", "b"], np.array(labels), names, [], pixels)


def test_copies_with_another_label_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 40, 40), dtype=np.uint8)
    pixels[4] = np.clip(pixels[1] * 0.9 + 5, 0, 255)  # darker, and of the other class
    pixels[5] = pixels[0]  # of the same class
    own = dataset(pixels, [0, 0, 0, 1, 1, 0], list("uvwxyz"))
    _, squares = cues.look(own)
    (pair,) = cues.twins(own, squares).itertuples()
    assert (pair.one, pair.one_label, pair.other, pair.other_label) == ("v", "a", "y", "b")


def test_a_cue_that_gives_the_class_away_is_told():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = (100 + 90 * labels[:, None, None] + rng.integers(0, 20, (80, 9, 9))).astype(np.uint8)
    names = [f"IMG_{index}.png" for index in range(80)]
    facts, _ = cues.look(dataset(pixels, labels.tolist(), names))
    votes = np.eye(2)[labels]
    said = Judgements(["a", "b"], pd.Index(names), labels, np.ones(80, int), votes, votes)
    table = cues.cues(said, facts)
    assert set(table["cue"]) == {"brightness"}  # size and name pattern are the same for all
    assert table["told"].iloc[0] == 100
    assert table["share"].tolist() == [100] * len(table)


def test_a_camera_is_read_from_a_photo(tmp_path):
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "One"
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    Image.new("RGB", (30, 20)).save(tmp_path / "bare.jpg")
    own = Dataset("own", ["a", "b"], np.array([0, 1]), ["photo.jpg", "bare.jpg"], [],
                  [tmp_path / "photo.jpg", tmp_path / "bare.jpg"])  # fmt: skip
    facts, _ = cues.look(own)
    assert facts["camera"].tolist() == ["Maker One", ""]
    assert facts["aspect ratio"].tolist() == [1.5, 1.5]


def test_the_table_to_correct_has_all_images_and_no_formula():
    suspects = pd.DataFrame({"image": ["=1+1.png"], "label": ["@a"], "suggested": ["b"], "runs": 3})
    own = dataset(np.zeros((2, 4, 4), np.uint8), [0, 1], ["=1+1.png", "z.png"])
    pairs = pd.DataFrame({"one": ["=1+1.png"], "other": ["-z.png"]})
    table = pd.read_csv(io.BytesIO(tell._csv(tell.labels_table(suspects, own, pairs))))
    assert table["path"].tolist() == ["./=1+1.png", "z.png"]
    assert table["label"].tolist() == ["'@a", "b"]
    assert table["twin"].iloc[0] == "./-z.png"


def test_no_name_is_no_study():
    """Not the first study of the book, as where a variable of the shell is not set."""
    with pytest.raises(InputError, match="There is no study ''"):
        tell.audit("", Console())


@pytest.mark.fault("names that are formulas")
def test_no_file_of_an_audit_holds_a_formula():
    pairs = pd.DataFrame(
        {"one": ["=1+1/a.png"], "other": ["b.png"], "one_label": ["=1+1"], "likeness": [-0.5]}
    )
    known = pd.DataFrame({"cue": ["file name"], "group": ["@SUM(A#).png"], "commonest": ["-1+1"]})
    (pair,) = pd.read_csv(io.BytesIO(tell._csv(pairs))).itertuples(index=False)
    assert tuple(pair) == ("./=1+1/a.png", "b.png", "'=1+1", -0.5)
    (cue,) = pd.read_csv(io.BytesIO(tell._csv(known))).itertuples(index=False)
    assert tuple(cue) == ("file name", "'@SUM(A#).png", "'-1+1")


@pytest.mark.parametrize(
    "kinds", [("-left", "@home"), ("=a", "'b'"), ("+1", "\uff0bx"), ("ca\u200bt", "dog")]
)
def test_the_table_to_correct_gives_the_same_classes_again(tmp_path, kinds):
    names = ["1.png", "2.png"]
    for name in names:
        Image.new("L", (4, 4)).save(tmp_path / name)
    table = tell.labels_table(pd.DataFrame({"image": names, "label": kinds}))
    (tmp_path / "labels.csv").write_bytes(tell._csv(table))
    assert imagefolder(None, str(tmp_path / "labels.csv")).classes == sorted(kinds)


def test_the_table_to_correct_keeps_the_test_set_and_the_objects(tmp_path):
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        Image.new("L", (4, 4)).save(tmp_path / name)
    parts, groups = np.array([1, 1, 0, 0, 0, 0], bool), np.array([0, 0, 1, 1, 2, 2])
    own = dataset(np.zeros((6, 4, 4), np.uint8), [0, 1, 0, 1, 0, 1], names)
    own = replace(own, official_test=parts, groups=groups)
    suspects = pd.DataFrame({"image": names[2:4], "label": ["a", "b"], "runs": 3})
    pairs = pd.DataFrame({"one": [], "other": []})
    (tmp_path / "labels.csv").write_bytes(tell._csv(tell.labels_table(suspects, own, pairs)))
    again = imagefolder(None, str(tmp_path / "labels.csv"), tell.GROUP)
    order = np.argsort(again.names)
    assert np.array_equal(again.official_test[order], parts)
    assert np.array_equal(np.unique(again.groups[order], return_inverse=True)[1], groups)


@pytest.mark.fault("files of the user in the way")
@pytest.mark.parametrize("name", [tell.LABELS, tell.TWINS, tell.CUES, tell.SHEET])
def test_files_that_somebody_changed_survive_another_audit(tmp_path, capsys, name):
    path = tmp_path / name
    for _ in range(2):  # the second time nothing has changed
        tell._write(path, b"first", Console())
    assert list(tmp_path.iterdir()) == [path]
    for text in ("dog", "owl"):
        path.write_text(text)
        tell._write(path, b"first", Console(width=500))
        assert path.read_bytes() == b"first"
    assert (tmp_path / f"{path.stem}.1{path.suffix}").read_text() == "dog"
    assert (tmp_path / f"{path.stem}.2{path.suffix}").read_text() == "owl"
    assert f"{path.stem}.2{path.suffix}" in capsys.readouterr().out


def test_without_the_extra_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(InputError, match=r"pip install 'effnet-report\[audit\]'"):
        tell.audit("published/quick", Console())


def test_a_page_of_cards_holds_its_images_and_escapes_names():
    view = np.full((8, 8, 3), 200, np.uint8)
    card = cards.Card("<b>.png", "cat & dog", [view], {"cat": 0.25}, ["note"])
    text = "".join(cards.page("Title", ["intro"], [card]))
    assert "<b>.png" not in text
    assert "cat &amp; dog" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    (data,) = re.findall(r"base64,([^\"]+)", text)
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (8, 8)
