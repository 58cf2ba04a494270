"""The models to compare: the plainest guess, classical ones, fine-tuned, and others' figures."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import pandas as pd

from effnet_core.report import published
from effnet_core.report.evidence import Evidence
from effnet_core.report.statistics import accuracy_interval
from effnet_core.study.design import describe
from effnet_core.study.records import AnyRecord

OURS = "this study"


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
        for row in published.literature(evidence.design.protocol.dataset).itertuples()
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
            "source": OURS,
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
        "source": OURS,
        "images": scores[0].images,
        "accuracy": fmean(score.accuracy for score in scores),
        "precision": fmean(score.precision for score in scores),
        "recall": fmean(score.recall for score in scores),
    }
