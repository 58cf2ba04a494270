"""The classical comparison: the same split, nothing learnt outside the training part."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import SMALL_CLASSICAL, SMALL_GRID, train_classical
from sklearn.svm import SVC

from effnet_core import run
from effnet_core.errors import InputError
from effnet_core.model.backbones import load_backbone
from effnet_core.model.prefix import Pixels
from effnet_core.study import records
from effnet_report.baseline import classical
from effnet_report.baseline.classical import BASELINE, Trial

CLASSICAL = records.classical_id(0)


@pytest.fixture
def begun(own_folders):
    this = run.begin(SMALL_CLASSICAL, CLASSICAL)
    yield this, run.load_data(this)
    this.lock.release()


def with_labels(data: run.Data, labels: np.ndarray) -> run.Data:
    return replace(data, dataset=replace(data.dataset, labels=labels))


@pytest.mark.slow
def test_records_are_true_and_repeatable(own_folders):
    first = train_classical()
    assert [(r.kind, r.run_id) for r in first] == [
        ("baseline", "baseline-seed0"),
        ("classical", "classical-seed0"),
    ]
    for record in first:
        path = records.record_path(record.settings.study, record.run_id)
        assert records.load(path) == record
        table = records.load_predictions(path)
        for part, stated in (
            ("validation", record.outcome.validation),
            ("test", record.outcome.test),
        ):
            rows = table[table.part == part]
            assert len(rows) == stated.images
            assert 100 * (rows.label == rows.predicted).mean() == pytest.approx(stated.accuracy)
    for record, again in zip(first, train_classical(), strict=True):
        assert again.predictions == record.predictions
        assert again.outcome.test == record.outcome.test
        assert again.fingerprints == record.fingerprints


def test_same_split_as_the_fine_tuned_runs(begun):
    this, data = begun
    tuned = run.begin(SMALL_CLASSICAL | {"freeze": 6})
    assert tuned.settings.study == this.settings.study
    assert run.load_data(tuned).split.fingerprint == data.split.fingerprint
    tuned.lock.release()


def test_grid_has_every_cell():
    cells = {(trial.features, trial.classifier) for trial in classical.grid()}
    assert len(cells) == 3 * 5
    for trial in classical.grid():  # every option is one that the classifier knows
        classical.build(trial, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("classifier", list(classical.OPTIONS))
def test_every_classifier_learns(begun, classifier):
    this, data = begun
    trials = [trial for trial in classical.grid() if trial[:2] == ("HOG", classifier)][:1]
    found = classical.compare(this, data, "grid", trials)
    majority = np.bincount(data.dataset.labels[data.split.test]).max() / len(data.split.test)
    assert found.evaluations["test"].metrics.accuracy > 3 * 100 * majority
    assert np.allclose(found.evaluations["test"].probabilities.sum(axis=1), 1)


def test_nothing_is_learnt_from_labels_that_were_shuffled(begun):
    this, data = begun
    labels = data.dataset.labels.copy()
    labels[data.split.train] = np.random.default_rng(0).permutation(labels[data.split.train])
    (candidate,) = classical.compare(
        this, with_labels(data, labels), "grid", SMALL_GRID[:1]
    ).candidates
    assert candidate.cv_accuracy < 25  # ten classes


@pytest.mark.slow
def test_validation_and_test_images_decide_nothing(begun):
    this, data = begun
    found = classical.compare(this, data, "grid", SMALL_GRID)
    labels, images = data.dataset.labels.copy(), np.array(data.images)
    for part in (data.split.validation, data.split.test):
        labels[part] = np.roll(labels[part], 1)
        images[part] = 255 - images[part]
    other = classical.compare(
        this, replace(with_labels(data, labels), images=images), "grid", SMALL_GRID
    )
    assert [c.cv_accuracy for c in other.candidates] == [c.cv_accuracy for c in found.candidates]
    assert other.best.model_copy(update={"seconds": found.best.seconds}) == found.best
    assert other.evaluations["test"].metrics != found.evaluations["test"].metrics


def test_the_best_model_on_the_other_kind_of_features_is_evaluated_too(begun):
    learned = Trial("frozen network", "k-NN", {"n_neighbors": 3})
    both = classical.compare(*begun, "grid", [SMALL_GRID[0], learned])
    other = both.on_other_features
    assert {both.best.on_learned_features, other.on_learned_features} == {True, False}
    (trial,) = (t for t in (SMALL_GRID[0], learned) if t.features == other.features)
    alone = classical.compare(*begun, "grid", [trial])
    assert alone.on_other_features is None
    assert {part: alone.evaluations[part].metrics for part in ("validation", "test")} == {
        "validation": other.validation,
        "test": other.test,
    }


def test_best_is_the_first_of_equals(begun):
    found = classical.compare(*begun, "grid", [SMALL_GRID[0], BASELINE, SMALL_GRID[0]])
    accuracies = [candidate.cv_accuracy for candidate in found.candidates]
    assert accuracies[0] == accuracies[2]
    assert found.best is found.candidates[int(np.argmax(accuracies))]


def test_frozen_features_are_the_backbones_own(begun):
    this, data = begun
    described = classical.describe("frozen network", this.settings, data)
    backbone = load_backbone(this.settings.backbone, this.settings.weights)
    network = backbone.network.eval()
    chosen = data.split.test[:4]
    with torch.no_grad():
        images = Pixels(data.images, backbone, "cpu")(chosen)
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(described.of(chosen), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_calibration_leaves_the_svms_decisions_alone(begun):
    this, data = begun
    labels, train = data.dataset.labels, data.split.train
    values = classical.describe("HOG", this.settings, data)
    model = classical.build(Trial("HOG", "SVM (RBF)", {"C": 10.0}), seed=0)
    model.fit(values.of(train), labels[train])
    scaled = model[0].transform(values.of(data.split.test))
    plain = SVC(C=10.0, break_ties=True).fit(model[0].transform(values.of(train)), labels[train])
    predicted = model.predict_proba(values.of(data.split.test)).argmax(axis=1)
    np.testing.assert_array_equal(predicted, plain.predict(scaled))


def test_class_too_small_for_the_folds(own_folders):
    this = run.begin(SMALL_CLASSICAL | {"max_images": 60}, CLASSICAL)
    with pytest.raises(InputError, match=r"Class '\d' has \d training images; 5-fold"):
        classical.compare(this, run.load_data(this), "baseline", [BASELINE])
    this.lock.release()
