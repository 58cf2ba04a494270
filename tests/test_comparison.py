import numpy as np
import pytest

from effnet_report.inference.comparison import accuracy_interval


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
