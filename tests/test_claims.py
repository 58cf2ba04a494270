import math

import pytest
from factories import use_folders, write_study

from effnet_core.report import claims, evidence, published
from effnet_core.report.statistics import Estimate

NAN = math.nan


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 14, "")


@pytest.mark.parametrize(
    ("low", "high", "gain", "no_gain"),
    [
        (0.1, 0.4, "supported", "contradicted"),
        (0.6, 2.0, "supported", "contradicted"),
        (-0.2, 0.4, "not resolved", "supported"),
        (-1.0, 1.0, "not resolved", "not resolved"),
        (-0.4, 0.6, "not resolved", "not resolved"),  # a gain that matters is not excluded
        (-2.0, -1.0, "contradicted", "supported"),
        (NAN, NAN, "not resolved", "not resolved"),
    ],
)
def test_verdicts_follow_from_the_interval(low, high, gain, no_gain):
    assert claims.gain(estimate(low, high)) == gain
    assert claims.no_gain(estimate(low, high)) == no_gain


def test_the_published_table_is_judged_on_all_claims():
    judged = claims.of_published()
    assert [judgement.claim for judgement in judged] == list(claims.CLAIMS.values())
    lead = judged[1].estimate
    assert lead.effect == pytest.approx(97.6 - 95.9)
    assert judged[1].verdict == "not resolved"


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (3.0, "A deeper head improves accuracy."),
        (0.0, "A deeper head does not improve accuracy."),
        (-3.0, "A deeper head lowers accuracy."),
    ],
)
def test_the_words_change_with_the_data(shift, sentence):
    table = published.results()
    noise = table["number"].map(lambda number: 0.01 * (number % 3))
    table["accuracy"] = 90 + noise + shift * (table["head"] == "mlp")
    judged = claims.judge(table, estimate(0, 1))
    assert sentence in [judgement.sentence for judgement in judged]


def test_fine_tuning_is_compared_image_by_image(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    judgement = claims.of_study(evidence.load("quick"))[1]
    assert judgement.estimate.n == 200
    assert judgement.estimate.low < judgement.estimate.effect < judgement.estimate.high


def test_without_a_classical_record_fine_tuning_is_not_judged(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick", classical=False)
    assert claims.of_study(evidence.load("quick"))[1].verdict == "not resolved"


def test_a_study_without_runs_resolves_nothing(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    judged = claims.of_study(evidence.load("quick"))
    assert {judgement.verdict for judgement in judged} == {"not resolved"}
