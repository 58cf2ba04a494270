import numpy as np
import pytest

from effnet_core.study.records import came_out_equal
from effnet_core.study.schema import Chosen
from effnet_report.evidence import evidence
from effnet_report.evidence.correctness import of_complete_seeds
from effnet_report.inference.comparison import KINDS, accuracy_interval, models


def test_wilson_interval_of_newcombes_example():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263.
    low, high = accuracy_interval(100 * 81 / 263, 263)
    assert (low, high) == pytest.approx((25.53, 36.62), abs=0.005)


def test_wilson_intervals_cover_as_often_as_promised():
    rng = np.random.default_rng(2)
    seen = rng.binomial(80, 0.85, 1000) / 80 * 100
    intervals = {value: accuracy_interval(value, 80) for value in np.unique(seen)}
    covered = np.mean([intervals[value][0] < 85 < intervals[value][1] for value in seen])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.fixture
def both_kinds():
    """The published `quick`, and its classical record with a model on each kind of features."""
    found = evidence.load("published/quick")
    (record,) = found.classical["classical"]
    best = record.outcome
    other = Chosen(
        features="HOG" if best.on_learned_features else "frozen network",
        classifier="k-NN",
        options={"n_neighbors": 3},
        validation=best.validation,
        test=best.test.model_copy(update={"accuracy": 12.5}),
    )
    outcome = best.model_copy(update={"on_other_features": other})
    return found, record, record.model_copy(update={"outcome": outcome})


def test_models_on_each_kind_of_features_have_a_row(both_kinds):
    found, older, record = both_kinds
    found.classical["classical"] = [record]
    rows = models(found, of_complete_seeds(found)).set_index("model")["accuracy"]
    classical = rows[rows.index.str.startswith("best classical")]
    assert [any(kind in name for name in classical.index) for kind in KINDS] == [True, True]
    assert sorted(classical) == sorted([12.5, older.outcome.test.accuracy])


def test_an_older_record_has_the_row_of_its_best_model_only(both_kinds):
    found, older, _ = both_kinds
    rows = models(found, of_complete_seeds(found)).set_index("model")["accuracy"]
    assert list(rows[rows.index.str.startswith("best classical")]) == [older.outcome.test.accuracy]


def test_a_repeated_run_is_equal_to_an_older_record_that_lacks_a_model(both_kinds):
    _, older, record = both_kinds
    assert came_out_equal(older, record)
    assert not came_out_equal(record, older)
    assert came_out_equal(record, record)
