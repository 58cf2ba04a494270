import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from factories import PUBLISHED, save_classical, save_run, use_folders, write_study

from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report.evidence import evidence, source
from effnet_report.evidence.correctness import chosen_on_validation
from effnet_report.inference import analysis, claims, decisive, wording
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.contrasts import OneTable
from effnet_report.inference.seeds_and_images import unknown

NAN = math.nan
MARGIN = 0.5


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


def estimate(low: float, high: float):
    return replace(unknown("", (low + high) / 2), low=low, high=high, p=0.01)


def judged_table(table) -> dict[str, claims.Judgement]:
    """All claims on a table of runs, with nothing to compare fine-tuning with."""
    nothing = dict.fromkeys(("classical", "optimism", "time", "memory"), estimate(NAN, NAN))
    judged = claims.judge(OneTable(table), nothing, MARGIN)
    return {judgement.key: judgement for judgement in judged}


def table_with(rise):
    """The source's design with accuracies that `rise` gives to its rows, and a little noise."""
    table = source.results()
    noise = table["number"].map(lambda number: 0.01 * (number % 3))
    return table.assign(accuracy=90 + noise + table.apply(rise, axis=1))


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.1, 0.4, "level"),  # a gain, but none that matters
        (0.1, 2.0, "better"),
        (-0.2, 0.4, "level"),
        (-1.0, 1.0, "open"),
        (-0.4, 0.6, "open"),  # a gain that matters is not excluded
        (-2.0, -1.0, "worse"),
        (NAN, NAN, "open"),
    ],
)
def test_outcomes_follow_from_the_interval_and_the_margin(low, high, outcome):
    assert claims.outcome(estimate(low, high), MARGIN) == outcome


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.74, 0.62, "-0.7 to 0.6"),
        (-0.03, 0.48, "-0.03 to 0.48"),  # no gain of 0.5, which "0.5" would not say
        (-0.52, 0.02, "-0.52 to 0.02"),
    ],
)
def test_bounds_show_on_which_side_of_zero_and_of_the_margin_they_lie(low, high, shown):
    told = wording.effect_with_interval(estimate(low, high), margin=MARGIN).replace(
        "\N{MINUS SIGN}", "-"
    )
    assert told.endswith(f"95 % CI {shown}")


def test_a_claim_and_its_opposite_never_both_hold():
    for outcome, verdict in claims.GAIN.items():
        opposite = {"supported": "contradicted", "contradicted": "supported"}
        assert claims.NO_GAIN[outcome] == opposite.get(verdict, verdict)


def test_the_published_table_is_judged_on_all_claims():
    judged = {judgement.key: judgement for judgement in claims.of_source()}
    assert list(judged) == list(claims.CLAIMS)
    assert judged["classical"].estimate.effect == pytest.approx(97.6 - 95.9)
    assert judged["classical"].verdict == "reported without an interval"
    assert judged["optimism"].verdict == "not reported"
    assert {judged[key].verdict for key in ("first", "head")} <= set(claims.CONSISTENCY.values())
    assert all(math.isnan(judgement.estimate.p) for judgement in judged.values())


@pytest.mark.parametrize(
    ("shift", "verdict", "words"),
    [
        (3.0, "contradicted", "A deeper head raises accuracy by 3.0 points"),
        (0.0, "supported", "A deeper head raises accuracy by less than 0.5 points, if at all"),
        (-3.0, "supported", "A deeper head lowers accuracy by 3.0 points (95 % CI 3.0 to"),
    ],
)
def test_the_words_change_with_the_data(shift, verdict, words):
    table = table_with(lambda row: shift * (row["head"] == "mlp"))
    judgement = judged_table(table)["head"]
    assert judgement.verdict == verdict
    assert judgement.sentence.startswith(words)


def test_the_schedule_that_is_better_is_named_whichever_it_is():
    for better, other in (("cosine", "plateau"), ("plateau", "cosine")):
        table = table_with(lambda row, better=better: 2.0 * (row["scheduler"] == better))
        sentence = judged_table(table)["scheduler"].sentence
        assert sentence.startswith(f"The {better} schedule beats {other} by 2.0 points")


def test_configuration_1_is_the_best_if_it_leads_each_other():
    judged = judged_table(table_with(lambda row: 3.0 * (row["number"] == 1)))["first"]
    assert judged.verdict == "supported"
    assert "configuration 1 minus configuration" in judged.sentence
    alike = judged_table(table_with(lambda _: 0.0))["first"]
    assert alike.verdict == "contradicted"
    assert "less than 0.5 points" in alike.sentence
    behind = judged_table(table_with(lambda row: 3.0 * (row["number"] == 28)))["first"]
    assert behind.verdict == "contradicted"
    assert behind.measured == (
        "configuration 1 minus configuration 28 (freeze 6, two linear layers with dropout, cosine)"
    )
    assert f"({behind.measured}: " in behind.sentence


def test_the_rival_that_decides_is_shown():
    ahead = {2: estimate(0.5, 3.0), 3: estimate(0.2, 4.0), 4: estimate(1.0, 2.0)}
    assert decisive.Rivals(ahead, {}).closest == 3
    unclear = ahead | {3: estimate(-0.2, 4.0)}
    assert decisive.Rivals(unclear, {}).closest == 3
    behind = unclear | {4: estimate(-3.0, -1.0)}
    assert decisive.Rivals(behind, {}).closest == 4
    assert decisive.Rivals({}, {}).closest == 0
    assert not decisive.Rivals({}, {}).lead.known


def test_depths_that_keep_and_that_lose_accuracy_are_told_apart():
    table = table_with(lambda row: -2.0 * (row["freeze"] > 4))
    deep = decisive.noninferiority(OneTable(table), MARGIN)
    assert (deep.deepest_noninferior, deep.inferior, deep.nearest) == (4, [5, 6], 4)
    sentence = judged_table(table)["depth"].sentence
    assert sentence.startswith("With 4 of the stages frozen")
    assert "(freeze 4 minus" in sentence
    assert sentence.endswith("With 5 or 6 of the stages frozen, the loss is larger than that.")


def test_where_every_depth_loses_none_is_kept():
    table = table_with(lambda row: -2.0 * (row["freeze"] > 0))
    assert judged_table(table)["depth"].verdict == "contradicted"


def test_where_one_depth_may_be_harmless_the_question_stays_open():
    table = table_with(lambda row: (-2.0 if row["freeze"] else 0) + (row["freeze"] == 3) * 1.5)
    assert judged_table(table)["depth"].verdict == "inconclusive"


@pytest.mark.slow
def test_corrected_p_values_are_never_smaller():
    write_study("elpv")
    for judgement in analysis.load("elpv").claims:
        assert not judgement.adjusted_p < judgement.estimate.p


def test_how_many_verdicts_may_be_wrong_by_chance_is_said():
    head = ("head", claims.CLAIMS["head"], "")
    tested = [claims.Judgement(*head, estimate(0, 1), "supported", "", 0.01, MARGIN)] * 8
    untested = claims.Judgement(*head, unknown(""), "inconclusive", "", NAN, MARGIN)
    assert (
        "each of these 8 effects had exactly the size that it is tested against, 0.4 would"
        in claims.by_chance([*tested, untested])
    )
    assert claims.by_chance([untested]).startswith("No verdict")


@pytest.mark.slow
def test_fine_tuning_is_compared_image_by_image():
    write_study("elpv")
    found = evidence.load("elpv")
    judged = Analysis(found).judgement
    lead = judged["classical"].estimate
    assert (lead.seeds, lead.images) == (len(found.design.seeds), 200 * len(found.design.seeds))
    assert lead.low < lead.effect < lead.high
    assert judged["optimism"].estimate.known


@pytest.mark.slow
def test_each_seed_chooses_its_own_configuration_on_validation():
    """Seed 0's best on validation is not seed 1's; the best mean is neither."""
    for settings in load_study("elpv").runs():
        good = {0: 3, 1: 9}.get(settings.seed, 20)
        record = save_run(settings, accuracy=80 if settings.number == good else 70)
        assert record.outcome.validation.accuracy < 80
        save_classical(settings, "classical", accuracy=75)
    found = analysis.load("elpv")
    seeds = len(found.evidence.design.seeds)
    places = chosen_on_validation(found.evidence, found.correctness)
    assert [int(place) + 1 for place in places] == [3, 9, *[20] * (seeds - 2)]
    assert found.over_classical.effect == pytest.approx(5, abs=0.01)


@pytest.mark.slow
def test_the_smallest_effect_of_interest_is_the_studys():
    write_study("elpv")
    found = evidence.load("elpv")
    strict = replace(found, design=found.design.model_copy(update={"smallest_effect": 50.0}))
    judged = Analysis(strict).judgement
    assert judged["first"].verdict == "contradicted"
    assert "50.0 points" in judged["depth"].sentence


@pytest.mark.slow
def test_new_records_change_the_verdicts():
    runs = list(load_study("elpv").runs())
    for better in ("none", "mlp"):
        for settings in runs:
            save_run(settings, accuracy=80 + 8 * (settings.head == better))
        judged = analysis.load("elpv").judgement
        verb = "raises" if better == "mlp" else "lowers"
        assert judged["head"].sentence.startswith(f"A deeper head {verb} accuracy by 8.0 points")


@pytest.fixture
def like_quick(tmp_path, monkeypatch):
    """Write a study that differs from `quick` in its seeds, its factors and a setting."""
    quick = (paths.STUDIES / "quick.yml").read_text()
    monkeypatch.setattr(paths, "STUDIES", tmp_path)

    def write(name: str, seeds: str, factors: str, setting: str = "") -> None:
        text = quick.replace("seeds: [0]", f"seeds: {seeds}")
        if setting:
            text = text.replace("protocol:\n", f"protocol:\n  {setting}\n")
        (tmp_path / f"{name}.yml").write_text(f"{text}factors: {factors}\n")

    return write


def test_a_study_about_balanced_accuracy_is_judged_by_it(like_quick):
    factors = "{freeze: [0, 6], head: [none], scheduler: [plateau]}"
    like_quick("fair", "[0, 1]", factors, "criterion: balanced_accuracy")
    write_study("fair")
    found = analysis.load("fair")
    recalls = [[r.outcome.test.recall for r in found.evidence.finished if r.settings.seed == seed]
               for seed in (0, 1)]  # fmt: skip
    assert found.correctness.accuracies == pytest.approx(np.array(recalls), abs=1e-4)
    change = np.mean(recalls, axis=0) @ [-1, 1]
    assert found.effects["freeze 6 instead of 0"].effect == pytest.approx(change, abs=1e-4)
    assert "balanced accuracy" in found.judgement["optimism"].sentence
    validation = [r.outcome.validation.recall for r in found.evidence.finished]
    assert list(found.evidence.runs.sort_values(["seed", "number"])["validation"]) == validation


def test_where_every_run_keeps_its_last_epoch_no_choice_can_be_too_optimistic(like_quick):
    factors = "{freeze: [0, 6], head: [none], scheduler: [cosine]}"
    like_quick("kept", "[0, 1]", factors, "select: last")
    write_study("kept")
    judged = analysis.load("kept").judgement["optimism"]
    assert judged.verdict == "inconclusive"
    assert "each run keeps its last one" in judged.sentence


def test_every_other_factor_has_its_claim_and_heads_have_none(like_quick):
    like_quick("rates", "[0, 1, 2]", "{learning_rate: [1.0e-4, 3.0e-4, 1.0e-3], freeze: [0, 6]}")
    for settings in load_study("rates").runs():
        save_run(settings, accuracy=60 + 20 * (settings.learning_rate == 3e-4))
    judged = analysis.load("rates").judgement
    assert set(judged) == {*claims.CLAIMS, "reference", "learning_rate"} - {
        "first", "head", "scheduler",
    }  # fmt: skip
    rate = judged["learning_rate"]
    assert rate.verdict == "supported"
    assert rate.estimate.effect == pytest.approx(20)
    assert "Dunnett" in rate.estimate.method
    assert rate.measured == "learning rate 3e-4 instead of 1e-4"
    assert rate.sentence.startswith(
        "With learning rate 3e-4 instead of 1e-4, accuracy rises by 20.0 points"
    )
    assert judged["reference"].claim.statement == (
        "Configuration 1 (learning rate 1e-4, freeze 0) is the best."
    )


def test_without_a_classical_record_fine_tuning_is_not_judged():
    write_study("quick", classical=False)
    judged = analysis.load("quick").judgement
    assert judged["classical"].verdict == "inconclusive"
    assert "a seed lacks" in judged["classical"].sentence


@pytest.mark.parametrize("done", [0, 1, 2, 3, 5, 8, 30])
def test_a_study_that_has_just_begun_is_judged_without_an_error(done):
    for settings in list(load_study("elpv").runs())[:done]:
        save_run(settings)
    judged = analysis.load("elpv").claims
    assert len(judged) == len(claims.CLAIMS)
    # One seed cannot say how much trainings differ.
    assert {judgement.verdict for judgement in judged} == {"inconclusive"}


def test_verdicts_are_data_too(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "CLAIMS", tmp_path / "source_claims.json")
    write_study("quick")
    analysis.save_claims("quick")
    analysis.save_claims_of_source()
    for path in (paths.records("quick") / "claims.json", source.CLAIMS):
        rows = json.loads(path.read_text())
        assert [row["claim"] for row in rows] == list(claims.CLAIMS)
        wanted = {"verdict", "effect", "low", "high", "p", "adjusted_p", "error", "seeds", "images"}
        assert wanted <= set(rows[0])
    assert evidence.load("quick").set_aside == {}


def same(kept: bytes, judged) -> None:
    """The same to what another processor may change of a number's last digits."""
    for row, expected in zip(json.loads(kept), json.loads(claims.as_json(judged)), strict=True):
        numbers = [name for name, value in expected.items() if isinstance(value, float)]
        assert {n: row[n] for n in numbers} == pytest.approx({n: expected[n] for n in numbers})
        assert [row[n] for n in row if n not in numbers] == [
            expected[n] for n in expected if n not in numbers
        ]


def test_the_verdicts_kept_on_the_published_table_are_those_it_gives():
    kept = (paths.BOOK / "data" / "source_claims.json").read_bytes()
    same(kept, claims.of_source())


@pytest.mark.parametrize("study", PUBLISHED)
def test_the_verdicts_kept_on_a_published_study_are_those_it_gives(study, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", paths.ROOT / "results")
    found = evidence.load(f"published/{study}")
    assert found.set_aside == {}
    # A long study may be published seed by seed, but no run of a seed is left out.
    left = Counter(settings.seed for settings in found.unfinished)
    assert set(left.values()) <= {len(found.design.configurations())}
    same((paths.records(found.reference) / "claims.json").read_bytes(), Analysis(found).claims)
