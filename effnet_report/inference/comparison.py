"""The models to compare: the plainest guess, classical ones, fine-tuned, and others' figures."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import pandas as pd
from scipy import stats

from effnet_core.study.schema import AnyRecord, Chosen, ClassicalModel, ClassicalRecord, Outcome
from effnet_report.evidence import source
from effnet_report.evidence.correctness import Correctness, chosen_on_validation
from effnet_report.evidence.evidence import Evidence
from effnet_report.words import configuration

THIS_STUDY = "this study"
KINDS = ("hand-made features", "features of the frozen network")


def models(evidence: Evidence, complete: Correctness) -> pd.DataFrame:
    """Accuracy on the test set with its interval, from the plainest model up.

    Returns:
        One row a model: model (in words), source, images (different test images), accuracy,
        low, high, precision, recall (per cent; the last two NaN where unknown). Ours are means
        over the seeds; the interval is for other images, not for other trainings.
    """
    rows = list(_ours(evidence, complete)) + [
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


def _ours(evidence: Evidence, complete: Correctness) -> Iterator[dict[str, object]]:
    if evidence.finished:
        labels = pd.concat(evidence.predictions(record)["label"] for record in evidence.best)
        largest = labels.value_counts(normalize=True).iloc[0]
        yield {
            "model": "always the majority class",
            "source": THIS_STUDY,
            "images": labels.index.nunique(),
            "accuracy": 100 * float(largest),
        }
    if baselines := evidence.classical.get("baseline"):
        outcomes = [record.outcome for record in baselines]
        yield _row(evidence, f"baseline ({kinds(outcomes)})", baselines, outcomes)
    yield from _classical(evidence, evidence.classical.get("classical", []))
    if len(complete.seeds) > 1:
        numbers = complete.design["number"].iloc[chosen_on_validation(evidence, complete)]
        chosen = set(zip(complete.seeds, numbers, strict=True))
        runs = [r for r in evidence.finished if (r.settings.seed, r.number) in chosen]
        name = "best fine-tuned model per seed, selected on validation"
        yield _row(evidence, name, runs, [run.outcome for run in runs])
    if evidence.finished:
        best = configuration(evidence.best_settings.levels)
        name = f"fine-tuned configuration with the best mean validation {evidence.metric} ({best})"
        yield _row(evidence, name, evidence.best, [run.outcome for run in evidence.best])


def kind(model: ClassicalModel) -> str:
    """What a classical model works on, one of `KINDS`."""
    return KINDS[model.on_learned_features]


def _classical(
    evidence: Evidence, records: Sequence[ClassicalRecord]
) -> Iterator[dict[str, object]]:
    """The best model per seed on each kind of features, and of both where seeds differ in it.

    Older records have the best of all only.
    """
    best: dict[str, list[Chosen]] = {name: [] for name in KINDS}
    for record in records:
        for model in filter(None, (record.outcome, record.outcome.on_other_features)):
            best[kind(model)].append(model)
    rivals = [record.outcome for record in records]
    for name, models in best.items():
        if records and len(models) == len(records):
            how = kinds(models).removeprefix("frozen network with ")
            title = f"best classical model per seed on {name} ({how})"
            yield _row(evidence, title, records, models)
    if records and rivals not in best.values():
        yield _row(evidence, f"best classical model per seed ({kinds(rivals)})", records, rivals)


def kinds(models: Sequence[ClassicalModel]) -> str:
    """The features and classifiers of classical models, as in `HOG with SVM or random forest`."""
    by_features: dict[str, set[str]] = {}
    for model in models:
        by_features.setdefault(model.features, set()).add(model.classifier)
    return "; ".join(
        f"{features} with {' or '.join(sorted(names))}" for features, names in by_features.items()
    )


def _row(
    evidence: Evidence,
    model: str,
    runs: Sequence[AnyRecord],
    outcomes: Sequence[Outcome | Chosen],
) -> dict[str, object]:
    scores = [outcome.test for outcome in outcomes]
    return {
        "model": model,
        "source": THIS_STUDY,
        "images": len(evidence.correct(runs)),
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
