"""Classical machine learning on the same split: a baseline, and the best model of a grid.

The steps of `notebooks/classical.ipynb`. Mean and variance, principal components, classifiers and
their options are learnt from the training set only, and in cross-validation from the training
folds only. Validation and test images are predicted once.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from skimage.color import rgb2gray
from skimage.feature import hog
from skimage.transform import resize
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import ParameterGrid, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from torch import nn

from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone, load_backbone
from effnet_core.model.convolutions import move_to_device
from effnet_core.model.cost import stage_costs
from effnet_core.model.prefix import Pixels, Stages
from effnet_core.run import (
    Data,
    Run,
    begin_again,
    check_evaluated,
    check_same_run,
    check_same_weights,
    fingerprints,
    load_data,
    predictions_table,
)
from effnet_core.study import records
from effnet_core.study.design import Settings
from effnet_core.study.schema import (
    Candidate,
    Chosen,
    ClassicalKind,
    ClassicalOutcome,
    ClassicalRecord,
    Facts,
)
from effnet_core.training.evaluate import Evaluation, metrics

FOLDS = 5
COMPARISONS = 2  # the baseline, and the grid
FEATURES = ("pixels + PCA", "HOG", "frozen network")
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "logistic regression": {"C": [0.001, 0.01, 0.1, 1.0]},
    "SVM (RBF)": {"C": [1.0, 10.0, 100.0]},
    "k-NN": {"n_neighbors": [1, 3, 7]},
    "random forest": {"min_samples_leaf": [1, 5]},
    "gradient boosting": {"learning_rate": [0.1, 0.3]},
}


class Trial(NamedTuple):
    """A candidate model: a description of images, a classifier and its options."""

    features: str
    classifier: str
    options: dict[str, Any]


BASELINE = Trial("small pixels", "logistic regression", {"C": 1.0})


@dataclass(frozen=True)
class Features:
    """One description of every image of the study.

    Attributes:
        indices: the images, sorted.
        values: their descriptions, shape (len(indices), width).
    """

    indices: np.ndarray
    values: np.ndarray

    def of(self, indices: np.ndarray) -> np.ndarray:
        """Descriptions of some of the images, shape (len(indices), width)."""
        return self.values[np.searchsorted(self.indices, indices)]


@dataclass(frozen=True)
class Comparison:
    """Models compared by cross-validation, and the predictions of the best of them.

    Attributes:
        best: the candidate with the highest mean accuracy, the first of equals.
        evaluations: evaluations of the best candidate, for `validation` and `test`.
        on_other_features: the best of the candidates on hand-made features if `best` is not one
            of them, else of the others; None if there are none.
    """

    candidates: list[Candidate]
    best: Candidate
    evaluations: dict[str, Evaluation]
    on_other_features: Chosen | None


def grid() -> Iterator[Trial]:
    """Yield all models of the comparison."""
    for features, classifier in product(FEATURES, OPTIONS):
        for options in ParameterGrid(OPTIONS[classifier]):
            yield Trial(features, classifier, options)


def compare(run: Run, data: Data, phase: str, trials: Iterable[Trial]) -> Comparison:
    """Cross-validate models on the training set in the same folds, and evaluate the best ones.

    The best model on hand-made features and the best on those of the frozen network are fitted on
    the whole training set and predict validation and test set.

    Args:
        phase: name of the time in the record.

    Raises:
        InputError: a class has fewer training images than folds, or the images belong to another
            run.
    """
    check_same_run(run, data.settings, "images")
    labels, parts = data.dataset.labels, data.split
    _check_folds(labels[parts.train], data.dataset.classes)
    with run.clock.phase(phase), threadpool_limits(run.settings.threads):
        trials = list(trials)
        described = {
            name: describe(name, run.settings, data)
            for name in dict.fromkeys(trial.features for trial in trials)
        }
        candidates = [
            cross_validate(
                trial,
                described[trial.features].of(parts.train),
                labels[parts.train],
                run.settings.seed,
            )
            for trial in trials
        ]
        best = _best(candidates)
        others = [c for c in candidates if c.on_learned_features != best.on_learned_features]
        evaluations = _evaluate_parts(best, described, data)
        on_other_features = _chosen(_best(others), described, data) if others else None
    return Comparison(candidates, best, evaluations, on_other_features)


def _best(candidates: list[Candidate]) -> Candidate:
    return max(candidates, key=lambda candidate: candidate.cv_accuracy)


def _chosen(candidate: Candidate, described: dict[str, Features], data: Data) -> Chosen:
    evaluations = _evaluate_parts(candidate, described, data)
    return Chosen(
        features=candidate.features,
        classifier=candidate.classifier,
        options=candidate.options,
        validation=evaluations["validation"].metrics,
        test=evaluations["test"].metrics,
    )


def _evaluate_parts(
    candidate: Candidate, described: dict[str, Features], data: Data
) -> dict[str, Evaluation]:
    """Fit a model on the whole training set, and evaluate it on validation and test set."""
    labels, parts, seed = data.dataset.labels, data.split, data.settings.seed
    features = described[candidate.features]
    model = build(Trial(candidate.features, candidate.classifier, candidate.options), seed)
    model.fit(features.of(parts.train), labels[parts.train])
    return {
        part: evaluate(model, features.of(indices), labels[indices], indices)
        for part, indices in (("validation", parts.validation), ("test", parts.test))
    }


def describe(name: str, settings: Settings, data: Data) -> Features:
    """Describe the images of all three parts, each independently of the others."""
    parts = data.split
    indices = np.sort(np.concatenate([parts.train, parts.validation, parts.test]))
    if name == "frozen network":
        return frozen_features(settings, data.images, indices)
    grey = (rgb2gray(data.images[index]) for index in indices)
    if name == "HOG":
        return Features(indices, np.stack([gradients(image) for image in grey]))
    side = 16 if name == BASELINE.features else 32
    small = [resize(image, (side, side), anti_aliasing=True).ravel() for image in grey]
    return Features(indices, np.stack(small))


def gradients(image: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) in about 6 x 6 cells.

    Args:
        image: shape (side, side), grey, 0..1.
    """
    cell = len(image) // 6
    return hog(image, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))


def frozen_features(settings: Settings, images: np.ndarray, indices: np.ndarray) -> Features:
    """Pooled features of the study's backbone, with the weights that fine-tuning starts from."""
    backbone = load_backbone(settings.backbone, settings.weights)
    network = backbone.network
    headless = nn.Sequential(
        network.conv_stem,
        network.bn1,
        *network.blocks,
        network.conv_head,
        network.bn2,
        network.global_pool,
    )
    move_to_device(headless.eval(), settings.device)
    pixels = Pixels(images, backbone, settings.device)
    pooled = Stages(pixels, headless, settings.batch_size)(indices)
    return Features(indices, pooled.cpu().numpy())


def build(trial: Trial, seed: int) -> Pipeline:
    """The steps from a description to class probabilities, not yet fitted."""
    reduction = [PCA(n_components=0.95)] if trial.features == "pixels + PCA" else []
    return make_pipeline(StandardScaler(), *reduction, _classifier(trial, seed))


def _classifier(trial: Trial, seed: int) -> ClassifierMixin:
    match trial.classifier:
        case "logistic regression":
            return LogisticRegression(max_iter=2000, **trial.options)
        case "SVM (RBF)":  # has no probabilities by itself
            return CalibratedClassifierCV(
                SVC(break_ties=True, **trial.options), method="temperature", cv=3, ensemble=False
            )
        case "k-NN":
            return KNeighborsClassifier(**trial.options)
        case "random forest":
            return RandomForestClassifier(random_state=seed, **trial.options)
        case "gradient boosting":
            return HistGradientBoostingClassifier(max_iter=30, random_state=seed, **trial.options)
    raise ValueError(f"There is no classifier {trial.classifier!r}.")


def cross_validate(trial: Trial, described: np.ndarray, labels: np.ndarray, seed: int) -> Candidate:
    """Mean and standard deviation of the accuracy over stratified folds, per cent.

    Args:
        described: the training part, shape (N, width).
        labels: shape (N,).
        seed: fixes the folds and the random numbers of the classifiers.
    """
    start = time.perf_counter()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    accuracy = 100 * cross_val_score(build(trial, seed), described, labels, cv=folds, n_jobs=1)
    return Candidate(
        **trial._asdict(),
        cv_accuracy=float(accuracy.mean()),
        cv_sd=float(accuracy.std(ddof=1)),
        seconds=round(time.perf_counter() - start, 2),
    )


def evaluate(
    model: Pipeline, described: np.ndarray, labels: np.ndarray, indices: np.ndarray
) -> Evaluation:
    """Evaluate a fitted model on images.

    Args:
        described: shape (N, width).
        labels: their classes, shape (N,).
    """
    probabilities = model.predict_proba(described)
    loss = float(log_loss(labels, probabilities, labels=model.classes_))
    scores = metrics(labels, probabilities.argmax(axis=1), loss)
    return Evaluation(indices, labels, probabilities, scores)


def record(
    run: Run, data: Data, *, baseline: Comparison, classical: Comparison
) -> list[ClassicalRecord]:
    """Write the records of baseline and best model with their predictions; release the run.

    Raises:
        InputError: the run began, or the images were loaded, after a comparison; or see
            `records.save`.
    """
    _check_compared_since_loading(run)
    made = [_result(run, data, "baseline", baseline), _result(run, data, "classical", classical)]
    for result, predictions in made:
        records.save(result, predictions)
    run.lock.release()
    return [result for result, _ in made]


def _check_compared_since_loading(run: Run) -> None:
    """Make sure that both comparisons were made of the images that this run has loaded."""
    ended = run.clock.ended
    since = ended[len(ended) - ended[::-1].index("data") :] if "data" in ended else []
    if len({*since}) < COMPARISONS:
        raise InputError(
            "The run began again, or the images were loaded again, after the baseline or the best "
            "model was compared. Run both comparisons again, then record them."
        )


def repeat(
    settings: Settings, kind: ClassicalKind, reference: str | None = None
) -> ClassicalRecord:
    """Repeat the comparison without writing anything, and return its record.

    Args:
        reference: study folder with the record to repeat; by default the folder of its study.

    Raises:
        InputError: this machine lacks the data, the weights or the device of the settings.
    """
    run = begin_again(settings)
    data = load_data(run)
    trials = [BASELINE] if kind == "baseline" else grid()
    result, _ = _result(run, data, kind, compare(run, data, kind, trials), reference)
    return result


def _result(
    run: Run, data: Data, kind: ClassicalKind, comparison: Comparison, reference: str | None = None
) -> tuple[ClassicalRecord, bytes]:
    """The record, and the bytes of its predictions file with the columns in `reference`."""
    name = records.baseline_id if kind == "baseline" else records.classical_id
    run_id = name(run.settings.seed)
    check_same_weights(run)
    check_evaluated(data, comparison.evaluations)
    table = predictions_table(data, comparison.evaluations)
    table = records.like_recorded(table, reference or run.settings.study, run_id)
    predictions = records.predictions_csv(table)
    backbone = load_backbone(run.settings.backbone, run.settings.weights)
    best = comparison.best
    result = ClassicalRecord(
        kind=kind,
        run_id=run_id,
        settings=run.settings.recorded(),
        facts=_facts(run, data, backbone),
        outcome=ClassicalOutcome(
            features=best.features,
            classifier=best.classifier,
            options=best.options,
            candidates=comparison.candidates,
            on_other_features=comparison.on_other_features,
            validation=comparison.evaluations["validation"].metrics,
            test=comparison.evaluations["test"].metrics,
        ),
        fingerprints=fingerprints(data, backbone.fingerprint, "classical"),
        predictions=hashlib.sha256(predictions).hexdigest(),
        made=run.clock.made(),
    )
    return result, predictions


def _facts(run: Run, data: Data, backbone: Backbone) -> Facts:
    """Facts as for fine-tuned runs; classical models train nothing of the network."""
    stages = stage_costs(backbone.network, run.settings.image_size)
    return Facts(
        **data.facts(),
        trainable_parameters=0,
        total_parameters=sum(stage.parameters for stage in stages),
        stages=stages,
    )


def _check_folds(labels: np.ndarray, classes: list[str]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < FOLDS:
        raise InputError(
            f"Class {classes[smallest]!r} has {counts[smallest]} training images; "
            f"{FOLDS}-fold cross-validation needs {FOLDS}. Add images or remove the class."
        )
