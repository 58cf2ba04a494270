"""The models to compare: the plainest guess, classical ones, fine-tuned, and others' figures."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import pandas as pd
from scipy import stats

from effnet_core.study.design import describe
from effnet_core.study.records import AnyRecord
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence

THIS_STUDY = "this study"


def models(evidence: Evidence) -> pd.DataFrame:
    """Accuracy on the test set with its interval, from the plainest model up.

    Returns:
        One row a model: model (in words), source, images (in the test set), accuracy, low,
        high, precision, recall (per cent; the last two NaN where unknown). Ours are means over
        the seeds.
    """
    rows = list(_ours(evidence)) + [
        {
            "model": row.method,
            "source": row.citation,
            "images": row.test_images,
            "accuracy": row.accuracy,
        }
        for row in source.literature(evidence.design.protocol.dataset).itertuples()
    ]
    columns = ["model", "source", "images", "accuracy", "precision", "recall"]
    table = pd.DataFrame(rows, columns=columns)
    intervals = map(accuracy_interval, table["accuracy"], table["images"])
    bounds = pd.DataFrame(intervals, columns=["low", "high"], index=table.index)
    return pd.concat([table[columns[:4]], bounds, table[columns[4:]]], axis="columns")


def _ours(evidence: Evidence) -> Iterator[dict[str, object]]:
    if evidence.finished:
        labels = evidence.predictions(evidence.best[0])["label"]
        largest = labels.value_counts(normalize=True).iloc[0]
        yield {
            "model": "always the most frequent class",
            "source": THIS_STUDY,
            "images": len(labels),
            "accuracy": 100 * float(largest),
        }
    for kind, title in (("baseline", "baseline"), ("classical", "best classical")):
        if kind in evidence.classical:
            found = evidence.classical[kind]
            names = {f"{r.outcome.features}, {r.outcome.classifier}" for r in found}
            yield _row(f"{title} ({' or '.join(sorted(names))})", found)
    if evidence.finished:
        s = evidence.best_settings
        name = f"best fine-tuned ({describe(s.freeze, s.head, s.scheduler)})"
        yield _row(name, evidence.best)


def _row(model: str, runs: Sequence[AnyRecord]) -> dict[str, object]:
    scores = [record.outcome.test for record in runs]
    return {
        "model": model,
        "source": THIS_STUDY,
        "images": scores[0].images,
        "accuracy": fmean(score.accuracy for score in scores),
        "precision": fmean(score.precision for score in scores),
        "recall": fmean(score.recall for score in scores),
    }


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Wilson's interval for an accuracy measured on a number of images, in per cent.

    Wilson, Journal of the American Statistical Association 22, 1927.
    """
    right = round(accuracy / 100 * images)
    interval = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)
