"""The sentence that opens each page, made from the records."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import pandas as pd
from IPython.display import HTML

from effnet_core.study.design import (
    FREEZE,
    HEAD_WORDS,
    HEADS,
    SCHEDULERS,
    Factors,
    Protocol,
)
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence
from effnet_report.inference import claims
from effnet_report.inference import comparison as compared
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.render.finding import coverage, finding, nothing_yet
from effnet_report.render.html import listing


def tutorial(evidence: Evidence) -> HTML:
    """What a study takes, from the one that is shown."""
    if not evidence.finished:
        return nothing_yet(evidence)
    made = [record.made for record in evidence.everything]
    hours = sum((one.cpu_seconds or one.seconds)["total"] for one in made) / 3600
    took = f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes"
    return finding(
        f"The {len(evidence.everything)} runs behind this report took {took} of CPU time; a study "
        "of your own photos is made as large as the time you give it, and ends with such a report "
        "and a trained model."
    )


def experiment(evidence: Evidence) -> HTML:
    """How much is to be trained, on what."""
    design, facts = evidence.design, evidence.facts
    sizes = (
        f"{facts.train_images:,} images to train on, {facts.validation_images:,} to choose with "
        f"and {facts.test_images:,} to test on, in {len(facts.classes)} classes"
        if facts
        else "images that no run has seen yet"
    )
    return finding(
        f"{design.title}: {len(design.configurations())} configurations of one network, "
        f"{len(design.seeds)} seed{'s' if len(design.seeds) > 1 else ''} each, {sizes}.",
        _tested(design.protocol),
        *_held(design.factors),
        *coverage(evidence),
    )


def _held(factors: Factors) -> Iterator[str]:
    """The choices of which this study tries one alone, or not all."""
    words: dict[str, tuple[list[str], int]] = {
        "freeze": ([str(depth) for depth in factors.freeze], len(FREEZE)),
        "head": ([HEAD_WORDS[head] for head in factors.head], len(HEADS)),
        "scheduler": ([str(name) for name in factors.scheduler], len(SCHEDULERS)),
    }
    for name, (tried, of) in words.items():
        if len(tried) == 1:
            yield f"Here {name} does not vary: {tried[0]}."
        elif len(tried) < of:
            yield f"Of {name} it tries {', '.join(tried)}."


def _tested(protocol: Protocol) -> str:
    """Which images are for testing."""
    if protocol.folds:
        return (
            f"Seed after seed tests another of {protocol.folds} folds, so that as many seeds test "
            "every image once."
        )
    if protocol.official_test:
        return "All seeds are tested on the images that the data set's authors keep for it."
    return "All seeds are tested on the same images."


def source_table() -> HTML:
    """What follows from the source's own table."""
    table = source.results()
    judged = [one for one in claims.of_source() if one.key in claims.SOURCES]
    consistent = sum(one.verdict == claims.CONSISTENCY["supported"] for one in judged)
    return finding(
        f"The source trained {len(table)} configurations once each; {leaders(table, 'accuracy')} "
        f"came out best with {number(table['accuracy'].max(), 2)} % accuracy.",
        f"Of its {len(judged)} conclusions, {consistent} are consistent over the configurations of "
        "its table. Single runs cannot show whether they hold for other trainings.",
    )


def results(evidence: Evidence) -> HTML:
    """The spread of the results, against what the size of the test set can tell apart."""
    if not evidence.finished:
        return nothing_yet(evidence)
    runs = evidence.runs
    accuracy = fmean(record.outcome.test.accuracy for record in evidence.best)
    tested = len(evidence.correct(evidence.best))  # with folds, more than one run has tested
    low, high = compared.accuracy_interval(accuracy, tested)
    optimism = Analysis(evidence).judgement["optimism"]
    return finding(
        f"{len(runs)} runs reach between {number(runs['test_accuracy'].min())} and "
        f"{number(runs['test_accuracy'].max())} % accuracy on the test set.",
        f"With {tested:,} test images, an accuracy of {number(accuracy)} % has a 95 % interval of "
        f"{number(low)} to {number(high)} % for other images.",
        optimism.sentence,
        *coverage(evidence),
    )


def comparison(evidence: Evidence) -> HTML:
    """Fine-tuning against everything that needs no fine-tuning."""
    if not evidence.finished:
        return nothing_yet(evidence)
    analysis = Analysis(evidence)
    return finding(
        best_of(analysis.comparison),
        analysis.judgement["classical"].sentence,
        *coverage(evidence),
    )


def best_of(models: pd.DataFrame) -> str:
    """The best of our models on the test set, and the best published one beside it."""
    ranked = models.sort_values("accuracy", ascending=False)
    ours = ranked[ranked["source"] == compared.THIS_STUDY]
    theirs = ranked[ranked["source"] != compared.THIS_STUDY]
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


def images(evidence: Evidence) -> HTML:
    """How many test images no run, and how many every run, gets right."""
    if not evidence.finished:
        return nothing_yet(evidence)
    right = evidence.correct(evidence.finished)
    always, never = int((right == 1).sum()), int((right == 0).sum())
    return finding(
        f"Of {len(right):,} test images, every run that tested them classifies {always:,} "
        f"correctly, and none {never:,}; on the other {len(right) - always - never:,} they "
        "differ.",
        *coverage(evidence),
    )


def conclusions(evidence: Evidence) -> HTML:
    """How many of the source's conclusions these data bear."""
    if not evidence.finished:
        return nothing_yet(evidence)
    verdicts = [one.verdict for one in Analysis(evidence).claims if one.key in claims.SOURCES]
    return finding(
        f"Of the source's {len(verdicts)} conclusions, this study supports "
        f"{verdicts.count('supported')}, contradicts {verdicts.count('contradicted')} and leaves "
        f"{verdicts.count('inconclusive')} open.",
        *coverage(evidence),
    )


def verdicts(evidence: Evidence) -> HTML:
    """Every conclusion as this study words it."""
    if not evidence.finished:
        return nothing_yet(evidence)
    return listing(judgement.sentence for judgement in Analysis(evidence).claims)


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
    return finding(
        f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished; their "
        f"times add up to {number(hours, 2)} hours.",
        agreement,
        *coverage(evidence),
    )


def runs(studies: Sequence[Evidence]) -> HTML:
    """How many runs there are to look at, and which of the main study's are missing."""
    pages = [study.page(settings.run_id) for study in studies for settings in study.planned]
    return finding(
        f"{len(pages) - pages.count(None)} of {len(pages)} runs have a page of their own: the "
        "executed notebook, with the images, the model, every epoch and the worst mistakes.",
        *coverage(studies[0]),
    )


def leaders(table: pd.DataFrame, column: str) -> str:
    """The models with the highest value, as in `model 9` or `models 9, 13`: ties are common."""
    numbers = table.loc[table[column] == table[column].max(), "number"]
    return f"model{'s' if len(numbers) > 1 else ''} {', '.join(str(n) for n in numbers)}"


def lift(models: pd.DataFrame) -> str:
    """How far the best of our models is above the majority class."""
    ours = models.loc[models["source"] == compared.THIS_STUDY, "accuracy"]
    above = number(ours.max() - ours.iloc[0])
    return f"The best model of this study is {above} points above the majority class."
