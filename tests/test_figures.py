import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from factories import (
    TEST_IMAGES,
    VALIDATION_IMAGES,
    fingerprints,
    save_classical,
    save_run,
    use_folders,
    write_study,
)
from PIL import Image

from effnet_core import paths
from effnet_core.data import datasets
from effnet_core.study.studies import load_study
from effnet_report.evidence import locations, pictures
from effnet_report.inference import analysis
from effnet_report.inference.analysis import Analysis
from effnet_report.pages import (
    answer,
    comparison,
    conclusions,
    experiment,
    images,
    methods,
    results,
    source,
)
from effnet_report.pages.gaps import coverage
from effnet_report.render import html
from effnet_report.sweep import sweep

DRAWN = [
    conclusions.forest,
    results.interaction,
    source.side_by_side,
    experiment.stages,
    results.configurations,
    results.learning_curves,
    comparison.models,
    images.confusion,
    images.calibration,
]
OF_IMAGES = [experiment.seen, images.hardest, images.by_group]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


def drawing(figure) -> tuple[str, str]:
    """Name and alt text of a figure."""
    name = re.search(r'id="(.+?)"', figure.data)[1]
    return name, " ".join(re.findall(r'(?:aria-label|alt)="(.+?)"', figure.data))


@pytest.fixture
def known_images(monkeypatch):
    """A data set whose images are those of the synthetic predictions."""
    sizes = {"test": 2 * TEST_IMAGES, "validation": 2 * VALIDATION_IMAGES}
    names = [f"{part}-{n}" for part, size in sizes.items() for n in range(size)]
    rng = np.random.default_rng(0)
    dataset = datasets.Dataset(
        name="known",
        classes=["functional", "$defective$"],
        labels=(np.arange(len(names)) % 10 < 3).astype(np.int64),
        names=names,
        subgroups=["mono" if n % 2 else "poly" for n in range(len(names))],
        images=rng.integers(0, 255, (len(names), 8, 8)).astype(np.uint8),
    )
    monkeypatch.setattr(pictures, "dataset_of", lambda *_: dataset)
    # As the records of the factories name it.
    monkeypatch.setattr(datasets.Dataset, "fingerprint", fingerprints(0).data)


@pytest.mark.slow
@pytest.mark.parametrize("draw", OF_IMAGES)
def test_images_are_shown_where_they_are(draw, known_images):
    write_study("quick")
    name, alt = drawing(draw(analysis.load("quick")))
    assert alt
    assert len(pd.read_csv(html.site() / "data" / f"{name}.csv")) > 0


@pytest.mark.parametrize("draw", OF_IMAGES)
def test_images_that_are_not_here_are_not_missed(draw):
    write_study("quick")  # its predictions are for images that elpv does not have
    assert "are not on the machine" in draw(analysis.load("quick")).data


@pytest.fixture
def two_folds(tmp_path, monkeypatch):
    """A study of which each of two seeds tests another half of the images."""
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    (tmp_path / "halves.yml").write_text(
        "{title: Halves, seeds: [0, 1], protocol: {dataset: digits, image_size: 32, folds: 2}}"
    )
    monkeypatch.setenv("EFFNET_STUDY", "halves")
    write_study("halves", classical=False)
    return analysis.load("halves")


@pytest.mark.slow
def test_with_folds_the_images_are_all_images(two_folds, known_images):
    images.hardest(two_folds)
    data = pd.read_csv(html.site() / "data" / "hardest-images.csv")
    assert len(data) == 2 * TEST_IMAGES
    shown = images.confusion(two_folds).data
    assert f"2 seeds, one seed per image, {2 * TEST_IMAGES} images" in shown
    confused = pd.read_csv(html.site() / "data" / "confusion.csv", index_col=0)
    assert confused.to_numpy().sum() == 2 * TEST_IMAGES
    _, alt = drawing(images.by_group(two_folds))
    assert alt.count(f"on {TEST_IMAGES} images") == 2  # half of the images are of each kind


@pytest.mark.parametrize(
    ("resize", "words"), [("squash", "squashed"), ("pad", "in black"), ("crop", "cut off")]
)
def test_images_are_shown_as_the_network_gets_them(known_images, monkeypatch, resize, words):
    wide = np.full((2 * (TEST_IMAGES + VALIDATION_IMAGES), 8, 16), 200, np.uint8)
    wide[:, :, :4] = 90
    known = pictures.dataset_of()
    stretched = dataclasses.replace(known, images=wide)
    monkeypatch.setattr(pictures, "dataset_of", lambda *_: stretched)
    drawn = []
    monkeypatch.setattr(html, "pictures", lambda tiles, *_, **words: drawn.append((tiles, words)))
    write_study("quick")
    found = analysis.load("quick")
    records = found.evidence
    look = records.design.protocol.model_copy(update={"resize": resize, "background": "black"})
    design = records.design.model_copy(update={"protocol": look})
    experiment.seen(Analysis(dataclasses.replace(records, design=design)))
    ((tiles, said),) = drawn
    assert words in said["finding"]
    side = look.image_size
    expected = {"squash": [90, 200], "pad": [0, 0], "crop": [200, 200]}[resize]
    for view, _ in tiles:
        assert view.shape == (side, side, 3)
        corner, below = view[1, side // 8], view[side - 2, side * 7 // 8]
        assert np.array([corner[0], below[0]], int) == pytest.approx(expected, abs=10)


def test_the_hardest_images_say_what_they_are_taken_for(two_folds, known_images):
    _, alt = drawing(images.hardest(two_folds))
    data = pd.read_csv(html.site() / "data" / "hardest-images.csv", keep_default_na=False)
    wrong = data[data["wrong_percent"] > 0]
    assert alt.count("taken for") == images.SHOWN
    taken = {"functional": "<b>defective</b>", "$defective$": "functional"}
    assert (wrong["taken_for"] == wrong["class"].map(taken)).all()
    assert (data.loc[data["wrong_percent"] == 0, "taken_for"] == "").all()


def test_above_twenty_classes_the_commonest_confusions_are_shown(monkeypatch):
    write_study("quick")
    found = analysis.load("quick")
    classes = ["functional", "x" * 79 + "y", *(f"class {n}" for n in range(30))]
    facts = found.evidence.best[0].facts.model_copy(update={"classes": classes})
    monkeypatch.setitem(found.evidence.__dict__, "best", [r.model_copy(update={"facts": facts})
                                                 for r in found.evidence.best])  # fmt: skip
    name, alt = drawing(images.confusion(found))
    drawn = (html.site() / "figures" / f"{name}.svg").read_text()
    assert "functional → " + "x" * 15 + "…" + "x" * 7 + "y" in drawn
    assert "class 7" not in drawn
    assert alt.count("taken for") == 2  # of two classes that occur, each for the other


def test_class_names_in_any_script_are_drawn_without_a_warning(monkeypatch, recwarn):
    write_study("quick")
    found = analysis.load("quick")
    facts = found.evidence.best[0].facts.model_copy(update={"classes": ["日本語", "$x^2$ 😀"]})
    monkeypatch.setitem(found.evidence.__dict__, "best", [r.model_copy(update={"facts": facts})
                                                 for r in found.evidence.best])  # fmt: skip
    name, _ = drawing(images.confusion(found))
    drawn = ElementTree.parse(html.site() / "figures" / f"{name}.svg").iter()
    assert "日本語" in {mark.text for mark in drawn}
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


@pytest.mark.slow
def test_the_hardest_images_are_those_most_runs_get_wrong(known_images):
    write_study("quick")
    found = analysis.load("quick")
    images.hardest(found)
    data = pd.read_csv(html.site() / "data" / "hardest-images.csv", index_col="image")
    wrong = 100 * (1 - found.evidence.correct(found.evidence.finished))
    assert data["wrong_percent"].is_monotonic_decreasing
    assert data["wrong_percent"].to_dict() == pytest.approx(wrong.to_dict())


@pytest.mark.parametrize("draw", DRAWN)
def test_every_figure_has_words_a_picture_and_data(draw):
    write_study("quick")
    name, alt = drawing(draw(analysis.load("quick")))
    assert re.search(r"\d", alt)
    root = ElementTree.parse(html.site() / "figures" / f"{name}.svg").getroot()
    background = root.find(".//{*}g[@id='patch_1']/{*}path")
    assert "fill: #ffffff" in background.get("style")
    assert len(pd.read_csv(html.site() / "data" / f"{name}.csv")) > 0


@pytest.mark.parametrize("draw", [*DRAWN, *OF_IMAGES])
def test_a_study_without_runs_draws_nothing_and_says_so(draw):
    found = analysis.load("quick")
    assert found.evidence.finished == []
    expected = "source" if draw is conclusions.forest else "No run of study quick has finished yet"
    assert expected in draw(found).data


@pytest.mark.slow
def test_what_could_be_resolved_takes_two_seeds():
    write_study("quick")
    assert "<svg" not in methods.resolving(analysis.load("quick")).data
    write_study("elpv")
    drawing(methods.resolving(analysis.load("elpv")))
    data = pd.read_csv(html.site() / "data" / "resolving-power.csv")
    folds = data[data["design"] == "as many folds over all images"]
    assert all(v.is_monotonic_decreasing for _, v in folds.groupby("comparison")["smallest"])
    assert (data["smallest"] >= data["floor"]).all()
    assert data["comparison"].nunique() == 4


def write_seeds(*seeds: int):
    """Records of some seeds of a study in folds."""
    for settings in load_study("elpv").runs():
        if settings.seed in seeds:
            save_run(settings)
    return analysis.load("elpv")


def test_folds_that_are_missing_are_counted_where_they_would_help():
    """With half of the folds trained, what is drawn is for all images, what is said for these."""
    found = write_seeds(0, 1)
    said = methods.resolving(found).data
    assert f"2 seeds and {2 * TEST_IMAGES} test images" in said
    data = pd.read_csv(html.site() / "data" / "resolving-power.csv")
    facts = found.evidence.finished[0].facts
    every = facts.train_images + facts.validation_images + facts.test_images
    assert set(data.loc[data["design"] == "as many folds over all images", "images"]) == {every}


def test_without_intervals_nothing_is_said_to_be_unclear():
    """One seed: not `none of the choices is clear`, but that there is nothing to be clear by."""
    found = write_seeds(0)
    assert 'data-finding="effects:no-intervals"' in conclusions.forest(found).data
    assert "nan" not in drawing(conclusions.forest(found))[1]
    assert 'data-finding="advice:none"' in answer.answer([found]).data
    assert "One seed" in answer.answer([found]).data or "one seed" in answer.answer([found]).data
    assert ":none" in answer.advice([found]).data
    for show in (answer.trade_off, answer.depths, answer.limits):
        assert show([found]).data
    assert "one seed cannot tell them apart" in answer.trade_off([found]).data
    assert "intervals" not in answer.trade_off([found]).data


def test_a_study_that_was_only_begun_stands_beside_one_that_can_be_judged(monkeypatch):
    """Its first runs cannot be compared yet, and stop no page."""
    write_seeds(0, 1)
    monkeypatch.setenv("EFFNET_STUDY", "quick,elpv")
    for begun in (0, 3):
        for settings in list(load_study("quick").runs())[:begun]:
            save_run(settings)
        main, whole = answer.studies()
        assert (main.evidence.reference, whole.evidence.reference) == ("quick", "elpv")
        for show in (answer.answer, answer.advice, answer.trade_off, answer.depths, answer.limits):
            assert show([main, whole]).data
    assert "elpv" in answer.advice([main, whole]).data


def test_runs_of_a_study_that_freezes_alike_are_drawn_at_their_depth(tmp_path):
    study = tmp_path / "alike.yml"
    text = (paths.STUDIES / "quick.yml").read_text()
    text = text.replace("protocol:\n", "protocol:\n  freeze: 5\n")
    study.write_text(f"{text}\nfactors: {{augment: [none, flips]}}\n")
    sweep.leave_design(load_study(str(study)), study)
    for settings in load_study("alike").runs():
        save_run(settings)
    for draw in (results.learning_curves, results.configurations):
        name, _ = drawing(draw(analysis.load("alike")))
        assert "freeze 5" in (html.site() / "figures" / f"{name}.svg").read_text()


def test_a_network_of_six_stages_is_cut_where_it_can_be(monkeypatch):
    write_study("quick")
    found = analysis.load("quick")
    facts = found.evidence.facts
    six = facts.model_copy(update={"stages": [*facts.stages[:7], facts.stages[-1]]})
    monkeypatch.setattr(type(found.evidence), "facts", six)
    name, _ = drawing(experiment.stages(found))
    drawn = (html.site() / "figures" / f"{name}.svg").read_text()
    assert "freeze 5" in drawn
    assert "freeze 6" not in drawn


def test_the_baseline_is_the_rival_where_it_is_better_on_validation():
    write_seeds(0, 1)
    for settings in {one.seed: one for one in load_study("elpv").runs()}.values():
        save_classical(settings, "baseline", accuracy=70)
        save_classical(settings, "classical", accuracy=60)
    found = analysis.load("elpv")
    assert {record.kind for record in found.rival} == {"baseline"}
    assert "The rival of fine-tuning is the baseline" in comparison.answer(found).data


@pytest.mark.parametrize(
    ("seeds", "skipped", "words"),
    [
        ((0, 1), (), "56 of 112 runs are missing (0 failed): all of seeds 2, 3."),
        ((0,), (), "84 of 112 runs are missing (0 failed): all of seeds 1 to 3."),
        ((0, 1, 2, 3), (5, 9, 10, 11), ": configuration 5, 9 to 11 of seeds 0 to 3."),
        ((0, 1, 2), (28,), ": configuration 28 of seeds 0 to 2; all of seed 3."),
        ((0, 1, 2, 3), (), ""),
    ],
)
def test_what_is_missing_is_named_by_seed(seeds, skipped, words):
    for settings in load_study("elpv").runs():
        if settings.seed in seeds and settings.number not in skipped:
            save_run(settings)
    said = " ".join(coverage(analysis.load("elpv").evidence))
    assert words in said
    assert bool(said) == bool(words)


def test_the_results_count_the_test_images_of_all_folds():
    said = results.answer(write_seeds(0, 1)).data
    assert f"{2 * TEST_IMAGES} test images" in said


def test_the_first_figure_becomes_the_picture_of_the_site():
    write_study("quick")
    answer.trade_off([analysis.load("quick")])
    assert Image.open(html.site() / locations.PREVIEW).size == (1200, 630)


def test_the_title_follows_the_data():
    write_study("quick")
    before = results.configurations(analysis.load("quick")).data
    for path in paths.records("quick").glob("*-freeze1-*"):
        path.unlink()
    after = results.configurations(analysis.load("quick")).data
    title = re.compile(r'report-title">.*?</span>(.+?)<')
    assert title.search(before)[1] != title.search(after)[1]


def test_the_same_data_give_the_same_file():
    write_study("quick")
    drawn = []
    for _ in range(2):
        results.interaction(analysis.load("quick"))
        drawn.append((html.site() / "figures" / "interaction.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_the_source_figure_needs_no_study():
    assert drawing(source.freezing())[0] == "source-freezing"


def test_what_a_study_does_not_try_is_said_and_not_drawn(tmp_path):
    study = tmp_path / "few.yml"
    text = (paths.STUDIES / "quick.yml").read_text()
    study.write_text(
        f"{text}\nfactors: {{freeze: [0, 5, 6], head: [none], scheduler: [plateau]}}\n"
    )
    sweep.leave_design(load_study(str(study)), study)
    for settings in load_study("few").runs():
        save_run(settings)
    found = analysis.load("few")
    said = experiment.answer(found).data
    assert "frozen stages (0, 5, 6)" in said
    assert "cosine" not in said
    assert "linear" not in said
    for draw in (results.learning_curves, results.configurations):
        name, _ = drawing(draw(found))
        drawn = (html.site() / "figures" / f"{name}.svg").read_text()
        assert "freeze 5" in drawn
        assert "cosine" not in drawn
        assert "freeze 3" not in drawn
