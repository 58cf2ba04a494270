"""The sentence that opens each page, made from the records."""

import pandas as pd
from IPython.display import HTML

from effnet_core.study.design import describe
from effnet_report.evidence import comparison as compared
from effnet_report.evidence import source
from effnet_report.evidence.evidence import Evidence, mean_test_accuracy
from effnet_report.inference import claims
from effnet_report.inference.claims import Judgement
from effnet_report.inference.wording import size
from effnet_report.render.finding import coverage, finding, nothing_yet
from effnet_report.render.html import definition_list, listing, number

QUESTIONS = {
    "depth": "How many stages should I freeze?",
    "time": "What does freezing save?",
    "head": "Does a deeper head help?",
    "scheduler": "Which learning-rate schedule is better?",
    "classical": "Is fine-tuning better than classical machine learning?",
}


def answer(evidence: Evidence) -> HTML:
    """The best configuration, and what its accuracy stands for."""
    if not evidence.finished:
        return nothing_yet(evidence)
    s, images = evidence.best_settings, evidence.best[0].outcome.test.images
    accuracy = mean_test_accuracy(evidence.best)
    low, high = compared.accuracy_interval(accuracy, images)
    best = (
        f"Best on the validation set: {describe(s.freeze, s.head, s.scheduler)}. "
        f"It gets {number(accuracy)} % of {images} test images right, which stands for anything "
        f"from {number(low)} to {number(high)} %."
    )
    return finding(best, *coverage(evidence))


def answers(evidence: Evidence) -> HTML:
    """The questions of someone who is about to fine-tune, answered by the verdicts."""
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = {judgement.key: judgement for judgement in claims.of_study(evidence)}
    said = {key: judgement.sentence for key, judgement in judged.items()}
    said["depth"] = f"{said['freeze']} {said['depth']}"
    deepest = int(evidence.runs["freeze"].max())
    whatever = claims.saving(evidence.runs, "cpu_seconds", deepest)
    if judged["time"].verdict == "not resolved" and whatever.low > 0:
        said["time"] += f" Whatever the accuracy, freeze {deepest} saves {size(whatever, '%')}."
    return definition_list((question, said[key]) for key, question in QUESTIONS.items())


def experiment(evidence: Evidence) -> HTML:
    """How much was trained, on what."""
    design, facts = evidence.design, evidence.facts
    sizes = (
        f"{facts.train_images} images to train on, {facts.validation_images} to choose with and "
        f"{facts.test_images} to test on, in {len(facts.classes)} classes"
        if facts
        else "images that no run has seen yet"
    )
    return finding(
        f"{design.title}: {len(design.configurations())} configurations of one network, "
        f"{len(design.seeds)} seed{'s' if len(design.seeds) > 1 else ''} each, {sizes}."
    )


def source_table() -> HTML:
    """What follows from the source's own table."""
    table = source.results()
    judged = claims.of_source()
    return finding(
        f"The source trained {len(table)} configurations once each; {leaders(table, 'accuracy')} "
        f"came out best with {number(table['accuracy'].max(), 2)} % accuracy.",
        _tally(judged, "its own table"),
    )


def results(evidence: Evidence) -> HTML:
    """The spread of the results, against what the size of the test set can tell apart."""
    if not evidence.finished:
        return nothing_yet(evidence)
    runs = evidence.runs
    scores = evidence.best[0].outcome.test
    low, high = compared.accuracy_interval(scores.accuracy, scores.images)
    optimism = next(j for j in claims.of_study(evidence) if j.key == "optimism")
    return finding(
        f"{len(runs)} runs reach between {number(runs['test_accuracy'].min())} and "
        f"{number(runs['test_accuracy'].max())} % accuracy on the test set.",
        f"One run's {number(scores.accuracy)} % stands for anything from {number(low)} to "
        f"{number(high)} %, because there are {scores.images} test images.",
        optimism.sentence,
        *coverage(evidence),
    )


def comparison(evidence: Evidence) -> HTML:
    """Fine-tuning against everything that needs no fine-tuning."""
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = next(j for j in claims.of_study(evidence) if j.key == "classical")
    return finding(
        best_of(compared.models(evidence)),
        judged.sentence,
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
        f"{always} of {len(right)} test images are right in every run and {never} in none; the "
        f"choice of a configuration decides about the other {len(right) - always - never}.",
        *coverage(evidence),
    )


def conclusions(evidence: Evidence) -> HTML:
    """How many of the source's conclusions these data bear."""
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = claims.of_study(evidence)
    return finding(_tally(judged, "this study"), *coverage(evidence))


def verdicts(evidence: Evidence) -> HTML:
    """Every conclusion as this study words it."""
    if not evidence.finished:
        return nothing_yet(evidence)
    return listing(judgement.sentence for judgement in claims.of_study(evidence))


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
        f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished; they took "
        f"{number(hours, 2)} hours of computing.",
        agreement,
        *coverage(evidence),
    )


def runs(evidence: Evidence) -> HTML:
    """How many runs there are to look at."""
    pages = sum(evidence.page(settings.run_id) is not None for settings in evidence.planned)
    return finding(
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
    ours = models.loc[models["source"] == compared.THIS_STUDY, "accuracy"]
    above = number(ours.max() - ours.iloc[0])
    return f"The best model of this study is {above} points above guessing the commonest class."


def _tally(judged: list[Judgement], whose: str) -> str:
    verdicts = [judgement.verdict for judgement in judged if judgement.key in claims.SOURCES]
    return (
        f"Of the source's {len(verdicts)} conclusions, {whose} supports "
        f"{verdicts.count('supported')}, contradicts {verdicts.count('contradicted')} and leaves "
        f"{verdicts.count('not resolved')} open."
    )
