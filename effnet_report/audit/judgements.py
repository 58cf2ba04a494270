"""What runs said of images that they did not train on, averaged, and which labels that doubts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from effnet_core.errors import InputError
from effnet_core.study.records import LABEL_PROBABILITY
from effnet_report.evidence.evidence import Evidence

LEAST_CONFUSED = 0.02  # of a class, in both directions


@dataclass(frozen=True, eq=False)
class Judgements:
    """The validation and test images of a study's runs.

    Attributes:
        classes: names.
        names: of the N images, sorted.
        labels: as given, shape (N,).
        runs: how many judged each image, shape (N,).
        probabilities: mean over runs, shape (N, K). Those of the given label are exact, and with
            two classes all are. Where a record states no others, what is left of 1 is spread
            evenly.
        votes: share of runs that predicted each class, shape (N, K).
    """

    classes: list[str]
    names: pd.Index
    labels: np.ndarray
    runs: np.ndarray
    probabilities: np.ndarray
    votes: np.ndarray

    @property
    def suggested(self) -> np.ndarray:
        """The most probable class other than the given one, shape (N,)."""
        others = self.probabilities.copy()
        others[np.arange(len(self.labels)), self.labels] = -1
        return others.argmax(axis=1)

    def of_label(self, values: np.ndarray) -> np.ndarray:
        """The given label's entry of each row."""
        return values[np.arange(len(self.labels)), self.labels]

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """One row per image, the most doubtful label first.

        Columns: image, label, suggested (class names), probability (of the given label),
        suggested_probability, runs, wrong (share of runs), suspected (whether cleanlab counts it
        as a label error; Northcutt et al., JAIR 2021).

        Raises:
            InputError: the extra `audit` is not installed.
        """
        try:
            from cleanlab.filter import find_label_issues  # noqa: PLC0415  optional
            from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415
        except ImportError:
            raise InputError(
                "To audit labels, cleanlab is needed: pip install 'effnet-report[audit]'."
            ) from None
        quality = get_label_quality_scores(self.labels, self.probabilities)
        suspected = find_label_issues(self.labels, self.probabilities, n_jobs=1)
        rows, other = np.arange(len(self.labels)), self.suggested
        names = np.array(self.classes)
        table = pd.DataFrame(
            {
                "image": self.names,
                "label": names[self.labels],
                "suggested": names[other],
                "probability": self.of_label(self.probabilities),
                "suggested_probability": self.probabilities[rows, other],
                "runs": self.runs,
                "wrong": 1 - self.of_label(self.votes),
                "suspected": suspected,
            }
        )
        return table.iloc[np.lexsort((quality, ~suspected))].reset_index(drop=True)

    @property
    def accuracy(self) -> float:
        """Of the runs, 0..1, each image counted once."""
        return float(self.of_label(self.votes).mean())

    @property
    def corrected_accuracy(self) -> float:
        """The most that checking could give: accuracy if every suspected label is wrong, 0..1.

        Each then gets the suggested label; runs keep their predictions. If every suspected label is
        right, accuracy stays as it is.
        """
        suspected = self.suspects.set_index("image")["suspected"].loc[self.names].to_numpy()
        rows, other = np.arange(len(self.labels)), self.suggested
        right, corrected = self.of_label(self.votes), self.votes[rows, other]
        return float(np.where(suspected, corrected, right).mean())

    @property
    def confused(self) -> pd.DataFrame:
        """Pairs of classes that are taken for each other, the most confused first.

        Columns: one, other (names), one_as_other, other_as_one (shares of a class's votes).
        """
        members = np.bincount(self.labels, minlength=len(self.classes))
        taken = np.zeros((len(self.classes), len(self.classes)))
        np.add.at(taken, self.labels, self.votes)
        taken /= np.maximum(1, members)[:, None]
        both = np.minimum(taken, taken.T)
        pairs = [
            (self.classes[a], self.classes[b], taken[a, b], taken[b, a])
            for a, b in zip(*np.triu_indices(len(self.classes), 1), strict=True)
            if both[a, b] >= LEAST_CONFUSED
        ]
        pairs.sort(key=lambda pair: -min(pair[2:]))
        return pd.DataFrame(pairs, columns=["one", "other", "one_as_other", "other_as_one"])


def judgements(evidence: Evidence) -> Judgements:
    """What all finished fine-tuned runs of a study said of their validation and test images.

    Raises:
        InputError: no run has finished.
    """
    if not evidence.finished:
        raise InputError(
            f"No run of {evidence.reference} has finished. Start them: effnet sweep "
            f"{evidence.design.name}"
        )
    classes = evidence.finished[0].facts.classes
    tables = [
        evidence.predictions(record, part)
        for record in evidence.finished
        for part in ("validation", "test")
    ]
    labels = pd.concat([table["label"] for table in tables])
    labels = labels[~labels.index.duplicated()].sort_index()
    shape = (len(labels), len(classes))
    probabilities, votes, runs = np.zeros(shape), np.zeros(shape), np.zeros(len(labels), dtype=int)
    for table in tables:
        rows = labels.index.get_indexer(table.index)
        probabilities[rows] += _vectors(table, len(classes))
        votes[rows, table["predicted"]] += 1
        runs[rows] += 1
    return Judgements(
        classes=classes,
        names=labels.index,
        labels=labels.to_numpy(),
        runs=runs,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        votes=votes / runs[:, None],
    )


def _vectors(table: pd.DataFrame, classes: int) -> np.ndarray:
    """Probabilities of all classes, as far as predictions state them; shape (rows, classes)."""
    rows, sure = np.arange(len(table)), table["confidence"].to_numpy()
    labels, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
    right = labels == predicted
    evenly = (1 - sure) / (classes - 1)
    exact = classes > 2 and LABEL_PROBABILITY in table
    given = table[LABEL_PROBABILITY].to_numpy() if exact else evenly
    stated = sure + np.where(right, 0, given)
    unknown = np.maximum(1, classes - 2 + right)
    vectors = np.repeat(np.maximum(0, (1 - stated) / unknown)[:, None], classes, axis=1)
    vectors[rows, labels], vectors[rows, predicted] = given, sure
    return vectors
