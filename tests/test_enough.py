"""When a study has trained enough: the rule that `effnet sweep --until-decided` follows."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from factories import save_run, use_folders
from rich.console import Console

from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report.evidence.correctness import Correctness
from effnet_report.inference import analysis, decisive, enough, forecast
from effnet_report.inference.advice import advise
from effnet_report.inference.seeds_and_images import Estimator
from effnet_report.pages import answer, conclusions, shown
from effnet_report.sweep import command, progress, sweep
from effnet_report.sweep.tasks import tasks_of
from effnet_report.words import joined

DEPTHS, SEEDS, IMAGES, MARGIN = range(7), 4, 400, 1.0


def study(losses: list[float], scatter: float = 0.0) -> SimpleNamespace:
    """A study in folds: by depth the loss in points, and how much each run scatters around it."""
    rng = np.random.default_rng(0)
    design = pd.DataFrame({"number": range(1, 8), "words": "", "freeze": DEPTHS})
    luck = (np.arange(IMAGES) + 0.5) / IMAGES  # how hard an image is, for all depths
    right = []
    for _ in range(SEEDS):
        shares = 0.9 - (np.array(losses) + scatter * rng.normal(size=7)) / 100
        right.append(luck < shares[:, None])
    return SimpleNamespace(
        correctness=Correctness(design, [*range(SEEDS)], right, [*range(SEEDS)]),
        evidence=SimpleNamespace(design=SimpleNamespace(seeds=[*range(SEEDS)])),
        margin=MARGIN,
    )


@pytest.mark.parametrize(
    ("losses", "freeze"),
    [([0, 0, 0, 0, 0, 20, 30], 4), ([0] * 7, 6), ([0, 20, 20, 20, 20, 20, 20], 0)],
)
def test_a_clear_depth_is_decided_before_all_seeds_are_trained(losses, freeze):
    first, *_ = enough.looks(study(losses))
    assert (first.seeds, first.planned) == (2, SEEDS)
    assert first.freeze == freeze
    assert str(freeze) in first.sentence or freeze == 0


def test_a_depth_that_may_lose_more_or_less_is_not_decided():
    first, *_ = enough.looks(study([0, 0, 0, 0, 0, 1, 20], scatter=1))
    assert first.freeze is None
    assert first.unclear
    assert 6 not in first.unclear  # it surely loses more
    assert joined(first.unclear, "or") in first.sentence


def test_bounds_allow_for_every_look():
    whole = study([0, 1, 1, 2, 2, 3, 4], scatter=1)
    once = decisive.noninferiority(Estimator(whole.correctness), MARGIN).changes
    often = decisive.noninferiority(Estimator(whole.correctness), MARGIN, looks=3).changes
    for depth, change in once.items():
        assert often[depth].low < change.low < change.high < often[depth].high
        assert often[depth].p == pytest.approx(min(1, 3 * change.p))


def test_one_seed_decides_nothing():
    assert enough.look(study([0] * 7), seeds=1).freeze is None


def write_two_seeds_of(
    name: str, monkeypatch: pytest.MonkeyPatch, *, free: float = 92, frozen: float = 60
) -> None:
    """Records of two of four seeds, in which every freeze has the other accuracy."""
    monkeypatch.setattr(paths, "STUDIES", paths.RESULTS.parent)
    (paths.STUDIES / f"{name}.yml").write_text(
        "title: Clear\nseeds: [0, 1, 2, 3]\n"
        "factors: {freeze: [0, 3, 6], head: [none], scheduler: [plateau]}\n"
        "protocol: {dataset: digits, image_size: 32, folds: 4, weights: none}\n"
    )
    for settings in load_study(name).runs():
        if settings.seed < 2:
            save_run(settings, accuracy=frozen if settings.freeze else free)


def test_where_every_freeze_loses_the_advice_is_to_freeze_nothing(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    paths.RESULTS.mkdir()
    monkeypatch.setenv("EFFNET_STUDY", "clear")
    write_two_seeds_of("clear", monkeypatch)
    studied = analysis.load("clear")
    advice = advise(studied)
    assert (advice.freeze, advice.best) == (0, 0)
    assert advice.depth.freeze in (3, 6)
    assert advice.accuracy.effect == pytest.approx(92, abs=1)
    assert advice.accuracy.low > 85  # of two seeds, for other images only
    assert "% (the interval is for other images only)" in answer.advice([studied]).data
    assert studied.recommendation.depth is None
    assert studied.recommendation.sentence.startswith("Freeze nothing")
    assert 'data-finding="advice:clear:freeze0"' in answer.advice([studied]).data


def test_a_study_that_shows_the_opposite_stands_beside_the_advice(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    paths.RESULTS.mkdir()
    monkeypatch.setenv("EFFNET_STUDY", "clear,other")
    write_two_seeds_of("clear", monkeypatch)
    write_two_seeds_of("other", monkeypatch, free=40, frozen=90)
    (advising,) = answer.studies()
    assert advising.evidence.design.name == "clear"
    assert 'data-finding="contrary:other"' in answer.limits([advising]).data
    assert "This page is about the study" in str(*shown.other_recipes(advising))
    monkeypatch.setenv("EFFNET_STUDY", "clear")
    assert list(shown.other_recipes(advising)) == []
    monkeypatch.setenv("EFFNET_STUDY", "clear,other")
    shutil.rmtree(paths.records("other"))
    write_two_seeds_of("other", monkeypatch, free=90, frozen=40)
    assert "contrary" not in answer.limits([advising]).data


def test_a_sweep_starts_no_run_of_a_study_that_is_decided(tmp_path, monkeypatch, capsys):
    use_folders(tmp_path, monkeypatch)
    paths.RESULTS.mkdir()
    write_two_seeds_of("clear", monkeypatch)
    monkeypatch.setattr(sweep, "check_images", lambda *_: "")  # the records are of no images
    monkeypatch.setattr(command, "keep_best", lambda *_: None)  # and nothing was trained
    monkeypatch.setattr(command, "_engine", lambda *_: pytest.fail("a run was to be started"))
    command.sweep_shown(
        "clear", Console(width=200), jobs=1, retry_failed=False, until_decided=True, ray=None
    )
    said = capsys.readouterr().out
    assert "After 2 of 4 seeds the depth is decided" in said
    assert "10 runs are left out" in said  # of three depths and two classical models, two seeds
    assert "After 2 of 4 seeds" in conclusions.stopping(analysis.load("clear")).data


@pytest.mark.slow
def test_the_forecast_after_every_seed_is_near_what_comes_out(monkeypatch):
    study = analysis.load("published/elpv_source")
    usual = forecast.depth_components(study.estimator)
    monkeypatch.setattr(forecast, "published", lambda *_: (usual, []))
    deepest = study.noninferiority.changes[6]
    came_out = (deepest.high - deepest.low) / 2
    for seeds in range(1, len(study.correctness.seeds) + 1):
        early = Estimator(enough.first(study.correctness, seeds))
        assert forecast.whole(study, early) == pytest.approx(came_out, rel=0.3)
    assert forecast.whole(study, study.estimator) == pytest.approx(came_out, rel=0.05)


def test_a_sweep_says_after_one_seed_how_narrow_the_intervals_will_be(
    tmp_path, monkeypatch, capsys
):
    use_folders(tmp_path, monkeypatch)
    paths.RESULTS.mkdir()
    write_two_seeds_of("clear", monkeypatch)
    for record in paths.records("clear").glob("*-seed1.json"):
        record.unlink()
    assert not command._look(load_study("clear"), Console(width=200))
    said = capsys.readouterr().out
    assert said.startswith("Forecast after 1 of 4 seeds")
    expected = forecast.whole(study := analysis.load("clear"), study.estimator)
    assert f"{expected:.1f} points" in said


def test_a_sweep_looks_when_the_last_run_of_a_seed_has_ended(monkeypatch):
    study = load_study("quick").model_copy(update={"seeds": [0, 1]})
    tasks = [task for task in tasks_of(study, "quick") if task.settings.number in (0, 1, 2)]
    ended = [sweep.Finished(task, 1.0, left="stopped") for task in tasks]
    monkeypatch.setattr(progress, "execute_all", lambda *_: iter(ended))
    looks: list[None] = []
    progress.execute_shown(
        tasks, None, sweep.Stop(), Console(quiet=True), lambda: looks.append(None)
    )
    assert len(looks) == len({task.settings.seed for task in tasks}) == 2
