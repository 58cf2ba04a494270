import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from effnet_core.errors import InputError
from effnet_core.training.evaluate import evaluate, metrics

BATCH = 4


class Rows:
    """A boundary whose activations are rows of a table."""

    def __init__(self, table):
        self.table = table

    def __call__(self, indices):
        return self.table[indices]


@pytest.fixture
def scored():
    """Ten images whose activations are their logits, and their labels."""
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    return Rows(logits), labels


def test_metrics_of_a_worked_example():
    # Class 0: 2 of 2 predictions right, 2 of 3 found. Class 1: 1 of 2 right, 1 of 1 found.
    found = metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), loss=0.5)
    assert found.images == 4
    assert found.loss == 0.5
    assert found.accuracy == pytest.approx(100 * 3 / 4)
    assert found.precision == pytest.approx(100 * (1 + 1 / 2) / 2)
    assert found.recall == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert found.f1 == pytest.approx(100 * (4 / 5 + 2 / 3) / 2)


def test_a_class_that_is_never_predicted_counts_as_zero():
    found = metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), loss=0.5)
    assert found.precision == pytest.approx(100 * (3 / 4 + 0) / 2)
    assert found.recall == pytest.approx(100 * (1 + 0) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_metrics_are_per_cent_and_100_only_without_a_mistake(pairs):
    labels, predicted = np.array(pairs).T
    found = metrics(labels, predicted, loss=1.0)
    values = [found.accuracy, found.precision, found.recall, found.f1]
    assert all(0 <= value <= 100 for value in values)
    assert all((value == 100) == (labels == predicted).all() for value in values)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_model_that_diverged_is_told(loss):
    with pytest.raises(InputError, match=r"diverged.*Lower learning_rate"):
        metrics(np.array([0]), np.array([0]), loss)


def test_predictions_follow_the_given_indices(scored):
    boundary, labels = scored
    indices = np.array([7, 2, 9, 0, 4])
    found = evaluate(nn.Identity(), boundary, labels, indices, BATCH)
    expected = boundary.table[indices].softmax(1).numpy()
    assert np.array_equal(found.indices, indices)
    assert np.array_equal(found.labels, labels[indices])
    assert np.allclose(found.probabilities, expected)
    assert np.array_equal(found.predicted, expected.argmax(1))
    assert np.allclose(found.confidence, expected.max(1))
    loss = -np.log(expected[np.arange(5), labels[indices]]).mean()
    assert found.metrics.loss == pytest.approx(loss, rel=1e-5)
    assert found.metrics.accuracy == 100 * (expected.argmax(1) == labels[indices]).mean()


@pytest.mark.parametrize("was_training", [True, False])
def test_evaluation_is_in_evaluation_mode_and_sets_the_mode_back(scored, was_training):
    boundary, labels = scored
    suffix = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train(was_training)
    statistics = suffix[0].running_mean.clone()
    one, two = (evaluate(suffix, boundary, labels, np.arange(10), BATCH) for _ in range(2))
    assert np.array_equal(one.probabilities, two.probabilities)
    assert torch.equal(suffix[0].running_mean, statistics)
    assert all(module.training == was_training for module in suffix.modules())
