import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factories import even_metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core.errors import InputError
from effnet_core.model.backbones import load_backbone
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.model.prefix import Pixels, frozen_boundary
from effnet_core.training import fit as training
from effnet_core.training.evaluate import evaluate

TRAIN, VALIDATION = np.arange(16), np.arange(16, 24)


def fit_digits(settings, small_images, report=lambda _: None):
    """Train lite0 on zeros and ones: the model, its boundary and the fit."""
    images, labels = small_images
    backbone = load_backbone(settings.backbone, settings.weights, drop_path=settings.drop_path)
    head = build_head(settings, backbone.features, 2)
    model = FrozenNetwork(backbone.network, head, settings.freeze)
    model.to(memory_format=torch.channels_last)
    pixels = Pixels(images, backbone, "cpu")
    boundary = frozen_boundary(pixels, model.prefix, settings.freeze, settings.batch_size, {})
    fitted = training.fit(
        model, boundary, labels, TRAIN, VALIDATION, settings=settings, report=report
    )
    return model, boundary, fitted


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_the_same_settings_give_the_same_fit_to_the_bit(make_settings, small_images):
    # With everything random that a run can have: dropout, stochastic depth, data order.
    same = {"head": "mlp", "freeze": 2, "drop_path": 0.3, "dropout": 0.4}
    model, _, first = fit_digits(make_settings(**same), small_images)
    torch.rand(5)
    again, _, second = fit_digits(make_settings(**same), small_images)
    other, _, third = fit_digits(make_settings(**same, seed=1), small_images)
    assert first == second
    assert equal(state(model), state(again))
    assert first != third
    assert not equal(state(model), state(other))


def plain_loop(settings, small_images):
    """The loop that people write: every stage in every step, images where they are needed."""
    images, labels = small_images
    backbone = load_backbone(settings.backbone, settings.weights)
    head = build_head(settings, backbone.features, 2)
    model = FrozenNetwork(backbone.network, head, settings.freeze)
    model.to(memory_format=torch.channels_last)
    normalised = Pixels(images, backbone, "cpu")
    adam = torch.optim.Adam(model.trainable_parameters(), lr=settings.learning_rate, fused=True)
    order = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    losses = []
    for _ in range(settings.epochs):
        for batch in np.split(order.permutation(TRAIN), len(TRAIN) // settings.batch_size):
            loss = cross_entropy(model(normalised(batch)), torch.from_numpy(labels[batch]))
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize(("freeze", "head"), [(0, "none"), (3, "mlp"), (6, "none")])
def test_the_usual_loop_comes_to_the_same_weights(freeze, head, make_settings, small_images):
    # One epoch, so that the last is the best; dropout and batch norm are at work.
    settings = make_settings(freeze=freeze, head=head, epochs=1)
    model, _, fitted = fit_digits(settings, small_images)
    usual, losses = plain_loop(settings, small_images)
    assert equal(state(model), state(usual))
    assert fitted.history[0].train_loss == pytest.approx(np.mean(losses))


def test_fitting_learns_and_leaves_the_prefix_alone(make_settings, small_images):
    settings = make_settings(freeze=4, weights="packaged", epochs=4, learning_rate=1e-3)
    start = FrozenNetwork(load_backbone(settings.backbone, "packaged").network, nn.Identity(), 4)
    told = []
    report = lambda state: told.append(state.history[-1])  # noqa: E731
    model, _, fitted = fit_digits(settings, small_images, report)
    assert equal(state(model.prefix), state(start.prefix))
    losses = [epoch.train_loss for epoch in fitted.history]
    assert min(losses[1:]) < 0.8 * losses[0]
    assert told == fitted.history
    assert [epoch.epoch for epoch in told] == list(range(1, len(told) + 1))


@pytest.mark.slow
def test_the_head_can_train_first_and_alone(make_settings, small_images):
    settings = make_settings(weights="packaged", epochs=1, head="mlp")
    _, _, plain = fit_digits(settings, small_images)
    first = settings.model_copy(update={"head_first": 6, "learning_rate": 1e-30})
    start = load_backbone(settings.backbone, "packaged").network
    model, _, fitted = fit_digits(first, small_images)
    losses = [epoch.train_loss for epoch in fitted.head_first]
    assert (plain.head_first, len(losses)) == ([], 6)
    assert losses[-1] < 0.8 * losses[0]
    assert {epoch.learning_rate for epoch in fitted.head_first} == {1e-3}
    kept = dict(start.named_parameters())  # at a rate of nothing the rest stays as it was
    blocks = dict(model.suffix[0].named_parameters(prefix=f"blocks.{settings.freeze}"))
    assert all(torch.equal(blocks[name], kept[name]) for name in blocks)
    assert fitted.history[0].validation.loss < plain.history[0].validation.loss


@pytest.mark.parametrize("freeze", [0, 5])
def test_balanced_weights_are_in_every_loss(freeze, make_settings, small_images, monkeypatch):
    _, labels = small_images
    few = np.concatenate([np.flatnonzero(labels == 0)[:9], np.flatnonzero(labels == 1)[:3]])
    settings = make_settings(freeze=freeze, class_weights="balanced")
    weights = training.class_weights(labels[few], settings)
    expected = compute_class_weight("balanced", classes=np.arange(2), y=labels[few])
    assert weights.tolist() == pytest.approx(expected)
    assert training.class_weights(labels[few], make_settings()) is None
    seen = []

    def loss(logits, targets, weights):
        seen.append(weights)
        return cross_entropy(logits, targets, weights)

    monkeypatch.setattr(training, "cross_entropy", loss)
    monkeypatch.setattr("effnet_core.training.evaluate.cross_entropy", loss)
    _, _, fitted = fit_digits(settings, small_images)
    assert len(seen) == len(fitted.history) * (len(TRAIN) // 4 + 1)
    assert all(each.tolist() == seen[0].tolist() for each in seen)


@pytest.mark.slow
def test_the_model_has_the_weights_of_the_best_epoch(make_settings, small_images):
    # Eight images cannot get better ten times, so the last epoch is not the best.
    settings = make_settings(freeze=5, epochs=10, learning_rate=1e-2, early_stop_patience=1)
    model, boundary, fitted = fit_digits(settings, small_images)
    assert fitted.best_epoch < len(fitted.history)
    best = fitted.history[fitted.best_epoch - 1].validation
    labels = small_images[1]
    assert evaluate(model.suffix, boundary, labels, VALIDATION, 4).metrics == best


def test_a_run_that_diverges_is_told(make_settings, small_images):
    with pytest.raises(InputError, match=r"diverged.*Lower learning_rate"):
        fit_digits(make_settings(freeze=6, learning_rate=1e30), small_images)


class Line(nn.Module):
    """One linear layer, with the parts that `fit` needs of a model."""

    def __init__(self):
        super().__init__()
        self.suffix = nn.Linear(3, 2)

    def parameter_groups(self, rate, _):
        return [{"params": list(self.parameters()), "lr": rate}]


@pytest.fixture
def scripted(monkeypatch, make_settings):
    """Fit with validation results as written in a script, epoch by epoch.

    Returns the model, the fit, and the weights that each epoch was evaluated with.
    """

    def run(accuracies, losses=None, recalls=None, **changes):
        losses = losses or [1.0] * len(accuracies)
        script = zip(accuracies, losses, recalls or accuracies, strict=True)
        seen = []

        def evaluate_as_written(suffix, *_, **__):
            seen.append(state(suffix))
            accuracy, loss, recall = next(script)
            scores = even_metrics(accuracy, loss).model_copy(update={"recall": recall})
            return SimpleNamespace(metrics=scores)

        monkeypatch.setattr(training, "evaluate", evaluate_as_written)
        table = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        settings = make_settings(**({"epochs": len(accuracies), "learning_rate": 0.1} | changes))
        model = Line()
        labels = np.array([0, 1] * 4)
        fitted = training.fit(
            model,
            table.__getitem__,
            labels,
            np.arange(8),
            np.arange(8),
            settings=settings,
            report=lambda _: None,
        )
        return model, fitted, seen

    return run


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs", "best"),
    [
        ([50, 60, 70, 80], 2, 4, 4),  # always better: never stopped
        ([80, 70, 60, 90], 2, 3, 1),  # stopped before the 90
        ([80, 70, 85, 70, 60, 90], 2, 5, 3),  # one worse epoch is forgiven
        ([50, 60, 60, 60, 90], 2, 4, 2),  # an equal epoch is not better; the first counts
        ([60, 60], 2, 2, 1),
        ([60, 50, 60, 90], 2, 3, 1),
        ([80, 70, 90], 1, 2, 1),
        ([80, 70, 70, 90, 10], 3, 5, 4),
        ([50], 2, 1, 1),
        ([50, 60, 55], 2, 3, 2),  # patience not yet used up when the epochs are
    ],
)
def test_early_stopping_and_best_epoch(scripted, accuracies, patience, epochs, best):
    model, fitted, seen = scripted(accuracies, early_stop_patience=patience)
    assert len(fitted.history) == epochs
    assert fitted.best_epoch == best
    assert equal(state(model.suffix), seen[best - 1])
    assert sum(equal(state(model.suffix), weights) for weights in seen) == 1


def test_with_no_patience_given_all_epochs_are_trained(scripted):
    model, fitted, seen = scripted([80, 70, 60, 50, 40], early_stop_patience=None)
    assert (len(fitted.history), fitted.best_epoch) == (5, 1)
    assert equal(state(model.suffix), seen[0])


def test_the_last_epochs_weights_can_count(scripted):
    model, fitted, seen = scripted([80, 70, 75], early_stop_patience=None, select="last")
    assert fitted.best_epoch == 3
    assert equal(state(model.suffix), seen[2])


def test_balanced_accuracy_can_choose_the_epoch(scripted):
    script = {"accuracies": [60, 60, 90], "recalls": [50, 70, 60]}
    assert scripted(**script)[1].best_epoch == 3
    assert scripted(**script, criterion="balanced_accuracy")[1].best_epoch == 2


def test_the_plateau_rate_drops_before_early_stopping_ends_the_run(scripted):
    # The loss rises from the second epoch on while accuracy still improves now and then.
    _, fitted, _ = scripted([50, 51, 51, 52, 52, 52], losses=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    rates = [epoch.learning_rate for epoch in fitted.history]
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]


def test_where_loss_and_accuracy_fail_together_the_run_ends_before_the_rate_drops(scripted):
    _, fitted, _ = scripted([50, 40, 40, 60], losses=[1.0, 1.1, 1.2, 1.3])
    assert [epoch.learning_rate for epoch in fitted.history] == [0.1, 0.1, 0.1]


def test_the_cosine_rate_of_each_epoch_is_recorded(scripted):
    _, fitted, _ = scripted([50, 51, 52, 53, 54], scheduler="cosine")
    expected = [0.1 * (1 + math.cos(math.pi * done / 5)) / 2 for done in range(5)]
    assert [epoch.learning_rate for epoch in fitted.history] == pytest.approx(expected)


def test_the_cosine_rate_does_not_depend_on_when_the_run_stops(scripted):
    _, fitted, _ = scripted([50, 40, 40, 60, 70], scheduler="cosine")
    expected = [0.1 * (1 + math.cos(math.pi * done / 5)) / 2 for done in range(3)]
    assert [epoch.learning_rate for epoch in fitted.history] == pytest.approx(expected)


def test_every_epoch_sees_every_image_once_in_another_order(make_settings, monkeypatch):
    seen = []

    def loss(logits, targets, _):
        seen.append(logits.detach()[:, 0].long().tolist())
        return logits.sum() * 0

    monkeypatch.setattr(training, "cross_entropy", loss)
    model = Line()
    nn.init.zeros_(model.suffix.bias)
    model.suffix.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 0]])
    table = torch.zeros(9, 3)
    table[:, 0] = torch.arange(9)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = np.random.default_rng(0)
    for _ in range(2):
        training.train_epoch(
            model.suffix,
            table.__getitem__,
            np.zeros(9, dtype=np.int64),
            order.permutation(np.arange(9)),
            optimizer=optimizer,
            settings=make_settings(),
        )
    assert [len(batch) for batch in seen] == [4, 5, 4, 5]
    one, two = seen[0] + seen[1], seen[2] + seen[3]
    assert sorted(one) == sorted(two) == list(range(9))
    assert one != two


@given(st.integers(1, 300), st.integers(2, 64))
def test_batches_are_the_order_in_pieces_and_none_is_a_single_image(count, size):
    order = np.random.default_rng(0).permutation(count)
    found = training.batches(order, size)
    assert np.array_equal(np.concatenate(found), order)
    assert all(len(batch) == size for batch in found[:-1])
    assert len(found[-1]) <= size + 1
    assert len(found[-1]) > 1 or count == 1
