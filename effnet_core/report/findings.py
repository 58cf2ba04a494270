"""The sentence that opens each page, made from the records."""

import math
from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.report import claims, published, statistics
from effnet_core.report import comparison as compared
from effnet_core.report.claims import Judgement
from effnet_core.report.evidence import Evidence, describe
from effnet_core.report.html import link, number, paragraph
from effnet_core.report.statistics import Estimate


def answer(evidence: Evidence) -> HTML:
    """What to do about freezing, head and schedule, and the best configuration."""
    if not evidence.finished:
        return nothing_yet(evidence)
    wanted = [claims.CLAIMS[key] for key in ("freeze", "head", "scheduler")]
    judged = [j for j in claims.of_study(evidence) if j.claim in wanted]
    sentences = [f"{j.sentence[:-1]} ({interval(j.estimate)})." for j in judged]
    s, scores = evidence.best.settings, evidence.best.outcome
    low, high = statistics.accuracy_interval(scores.test.accuracy, scores.test.images)
    best = (
        f"The best run on the validation set is {describe(s.freeze, s.head, s.scheduler)}: "
        f"{number(scores.test.accuracy)} % of {scores.test.images} test images are right, which "
        f"stands for anything from {number(low)} to {number(high)} %."
    )
    return _finding(*sentences, best, *coverage(evidence))


def experiment(evidence: Evidence) -> HTML:
    """How much was trained, on what."""
    design, facts = evidence.design, evidence.facts
    sizes = (
        f"{facts.train_images} images to train on, {facts.validation_images} to choose with and "
        f"{facts.test_images} to test on, in {len(facts.classes)} classes"
        if facts
        else "images that no run has seen yet"
    )
    return _finding(
        f"{design.title}: {len(design.configurations())} configurations of one network, "
        f"{len(design.seeds)} seed{'s' if len(design.seeds) > 1 else ''} each, {sizes}."
    )


def source() -> HTML:
    """What follows from the source's own table."""
    table = published.results()
    judged = claims.of_published()
    return _finding(
        f"The source trained {len(table)} configurations once each; {leaders(table, 'accuracy')} "
        f"came out best with {number(table['accuracy'].max(), 2)} % accuracy.",
        _tally(judged, "its own table"),
    )


def results(evidence: Evidence) -> HTML:
    """The spread of the results, against what the size of the test set can tell apart."""
    if not evidence.finished:
        return nothing_yet(evidence)
    runs = evidence.runs
    scores = evidence.best.outcome.test
    low, high = statistics.accuracy_interval(scores.accuracy, scores.images)
    optimism = (runs["validation_accuracy"] - runs["test_accuracy"]).mean()
    return _finding(
        f"{len(runs)} runs reach between {number(runs['test_accuracy'].min())} and "
        f"{number(runs['test_accuracy'].max())} % accuracy on the test set.",
        f"One run's {number(scores.accuracy)} % stands for anything from {number(low)} to "
        f"{number(high)} %, because there are {scores.images} test images.",
        f"The best epoch's validation accuracy is {number(abs(optimism))} points "
        f"{'higher' if optimism > 0 else 'lower'} than the test accuracy, on average.",
        *coverage(evidence),
    )


def comparison(evidence: Evidence) -> HTML:
    """Fine-tuning against everything that needs no fine-tuning."""
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = next(j for j in claims.of_study(evidence) if j.claim is claims.CLAIMS["classical"])
    return _finding(
        best_of(compared.models(evidence)),
        f"{judged.sentence[:-1]} ({interval(judged.estimate)}).",
        *coverage(evidence),
    )


def best_of(models: pd.DataFrame) -> str:
    """The best of our models on the test set, and the best published one beside it."""
    ranked = models.sort_values("accuracy", ascending=False)
    ours = ranked[ranked["source"] == compared.OURS]
    theirs = ranked[ranked["source"] != compared.OURS]
    if ours.empty:
        return "No model of this study is finished yet."
    top = ours[ours["accuracy"] == ours["accuracy"].iloc[0]]
    sentence = (
        f"Most accurate here, with {number(top['accuracy'].iloc[0])} %: "
        f"{' and '.join(top['model'])}"
    )
    if theirs.empty:
        return f"{sentence}."
    other = theirs.iloc[0]
    return (
        f"{sentence}; the best published figure for these images is "
        f"{number(other['accuracy'])} % ({other['model']}, {other['source']})."
    )


def conclusions(evidence: Evidence) -> HTML:
    """How many of the source's conclusions these data bear."""
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = claims.of_study(evidence)
    return _finding(_tally(judged, "this study"), *coverage(evidence))


def verdicts(evidence: Evidence) -> HTML:
    """Every conclusion as this study words it."""
    if not evidence.finished:
        return nothing_yet(evidence)
    return paragraph(
        f"{judgement.sentence[:-1]} ({interval(judgement.estimate)})."
        for judgement in claims.of_study(evidence)
    )


def reproducibility(evidence: Evidence) -> HTML:
    """Whether all records stem from one data set, one set of weights and one code."""
    if not evidence.finished:
        return nothing_yet(evidence)
    prints = pd.DataFrame(record.fingerprints.model_dump() for record in evidence.finished)
    several = [name for name in ("data", "weights", "code") if prints[name].nunique() > 1]
    agreement = (
        f"They do not agree in {' and '.join(several)}: do not compare them before you know why."
        if several
        else "All stem from the same images, the same starting weights and the same code."
    )
    hours = evidence.runs["total_seconds"].sum() / 3600
    return _finding(
        f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished; they took "
        f"{number(hours, 2)} hours of computing.",
        agreement,
        *coverage(evidence),
    )


def runs(evidence: Evidence) -> HTML:
    """How many runs there are to look at."""
    pages = sum(evidence.page(settings.run_id) is not None for settings in evidence.planned)
    return _finding(
        f"{pages} of {len(evidence.planned)} runs have a page of their own: the executed notebook, "
        "with the images, the model, every epoch and the worst mistakes.",
        *coverage(evidence),
    )


def leaders(table: pd.DataFrame, column: str) -> str:
    """The models with the highest value, as in `model 9` or `models 9, 13`: ties are common."""
    numbers = table.loc[table[column] == table[column].max(), "number"]
    return f"model{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in numbers)}"


def lift(models: pd.DataFrame) -> str:
    """How far the best of our models is above the plainest guess."""
    ours = models.loc[models["source"] == compared.OURS, "accuracy"]
    above = number(ours.max() - ours.iloc[0])
    return f"The best model of this study is {above} points above guessing the commonest class."


def nothing_yet(evidence: Evidence, what: str = "run") -> HTML:
    """In place of anything that needs a finished run."""
    return _finding(
        f"No {what} of study {evidence.reference} has finished yet: there is nothing to show here.",
        Markup("Start the runs with <code>effnet sweep {}</code>.").format(evidence.design.name),
    )


def coverage(evidence: Evidence) -> Iterator[str]:
    """A warning when runs are missing, failed or damaged; nothing when all are there."""
    left = evidence.unfinished
    if left:
        numbers = ", ".join(str(n) for n in sorted({settings.number for settings in left}))
        failed = sum(settings.run_id in evidence.failures for settings in left)
        yield Markup(
            "{} of {} runs are not part of this ({} failed): configuration {}. See {}."
        ).format(
            len(left),
            len(evidence.planned),
            failed,
            numbers,
            link("reproducibility.html#missing", "what is missing"),
        )


def interval(estimate: Estimate) -> str:
    """An effect with its interval in words."""
    if math.isnan(estimate.effect):
        return "no data"
    effect = f"{number(estimate.effect)} points"
    if not estimate.low <= estimate.high:
        return f"{effect}, without an interval"
    return f"{effect}, 95 % interval {number(estimate.low)} to {number(estimate.high)}"


def _tally(judged: list[Judgement], whose: str) -> str:
    verdicts = [judgement.verdict for judgement in judged]
    return (
        f"Of the source's {len(judged)} conclusions, {whose} supports "
        f"{verdicts.count('supported')}, contradicts {verdicts.count('contradicted')} and leaves "
        f"{verdicts.count('not resolved')} open."
    )


def _finding(*sentences: str) -> HTML:
    return paragraph(sentences, css="report-finding")
