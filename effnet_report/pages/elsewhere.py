"""Does it hold elsewhere? The same design on several data sets, side by side."""

from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd
from IPython.display import HTML

from effnet_report.inference import claims
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.recipes import differences
from effnet_report.inference.seeds_and_images import LEVEL, Estimate, unknown
from effnet_report.inference.several import cochran, mean_over
from effnet_report.inference.wording import effect_with_interval
from effnet_report.numbers import number, p_value
from effnet_report.pages import shown
from effnet_report.pages.conclusions import judged_words
from effnet_report.render import html
from effnet_report.render.drawing import INK, MARKERS, SERIES, canvas, legend, plain, sentences
from effnet_report.render.html import apart, finding
from effnet_report.words import joined

# Below this many data sets nothing is said about images in general: with two, the interval for
# a mean over all kinds of images is nine times as wide as the two lie apart.
FEWEST = 5
# What means the same on every data set; the depth that keeps the accuracy may differ.
SAME_EVERYWHERE = ("classical", "freeze", "head", "scheduler", "optimism")


def studies() -> dict[str, Analysis]:
    """The book's studies that can be judged, by title, the main one first."""
    return {shown.title(study): study for study in shown.data_sets()}


def answer(studies: dict[str, Analysis]) -> HTML:
    """Whether the conclusions are the same, and how far that carries."""
    agreed = "one" if len(studies) < 2 else str(len(_agreed(studies)))
    return finding(*_answer(studies), *apart(_left_out(studies)), key=f"agreed:{agreed}")


def _agreed(studies: dict[str, Analysis]) -> list[str]:
    """Conclusions with the same clear verdict on every data set."""
    verdicts = [
        {judgement.key: judgement.verdict for judgement in study.claims}
        for study in studies.values()
    ]
    return [
        key
        for key in _shared(studies)
        if len({v[key] for v in verdicts}) == 1 and verdicts[0][key] != "inconclusive"
    ]


def _corrected(studies: dict[str, Analysis]) -> int:
    """How many conclusions have the same verdict everywhere that stays clear when corrected."""
    left = [
        all(study.judgement[key].adjusted_p <= 1 - LEVEL for study in studies.values())
        for key in _agreed(studies)
    ]
    return sum(left)


def _shared(studies: dict[str, Analysis]) -> list[str]:
    """The conclusions that every study can judge."""
    return [key for key in claims.CLAIMS if all(key in s.judgement for s in studies.values())]


def _answer(studies: dict[str, Analysis]) -> Iterator[str]:
    if len(studies) < 2:
        where = f"one data set: {next(iter(studies))}" if studies else "no data set yet"
        yield f"This report has results on {where}."
        yield "It cannot say whether they hold on other images."
        return
    agreed = len(_agreed(studies))
    verb = "has" if agreed == 1 else "have"
    compared = [study.evidence.design.factors for study in studies.values()]
    same = all(factors == compared[0] for factors in compared)
    every = "both" if len(studies) == 2 else f"all {len(studies)}"
    yield (
        f"Of {len(_shared(studies))} conclusions, {agreed or 'none'} {verb} the same clear verdict "
        f"on {every} data sets, and {_corrected(studies) or 'none'} after Holm's correction."
    )
    yield (
        f"{len(studies)} data sets were trained with {'the same' if same else 'different'} "
        f"configurations: {'; '.join(studies)}."
    )
    yield from _other_recipes(studies)
    if len(studies) < FEWEST:
        yield (
            f"{len(studies)} data sets are too few to speak about images in general; at least "
            f"{FEWEST} are needed."
        )


def _other_recipes(studies: dict[str, Analysis]) -> Iterator[str]:
    """In what the studies differ beside their images."""
    if recipes := differences([*studies.values()]):
        yield (
            f"Their recipes differ too ({'; '.join(recipes)}), so a difference between them may be "
            "due to the images or to the recipe."
        )


def _left_out(studies: dict[str, Analysis]) -> Iterator[str]:
    """What is missing of the studies compared, and the book's studies that are not, and why."""
    for title, study in studies.items():
        records = study.evidence
        if records.unfinished:
            runs = f"{len(records.finished)} of {len(records.planned)} runs"
            yield f"{title} has {runs} so far, so its intervals will change."
    compared = {study.evidence.reference for study in studies.values()}
    reasons: dict[str, list[str]] = {}
    for study in shown.every():
        if study.evidence.reference not in compared:
            why = "the same images as another study"
            if not study.correctness.seeds:
                why = "no seed with a run of every configuration yet"
            reasons.setdefault(why, []).append(shown.title(study))
    for why, titles in reasons.items():
        verb = "has" if len(titles) == 1 else "have"
        yield f"Left out: {'; '.join(titles)}, which {verb} {why}."


def verdicts(studies: dict[str, Analysis]) -> HTML:
    """Every conclusion's verdict on every data set, counted with all words."""
    if len(studies) < 2:
        return html.paragraph(["Verdicts can be compared where two data sets have them."])
    rows, data, agreed = [], [], len(_agreed(studies))
    for key in _shared(studies):
        here = {title: study.judgement[key] for title, study in studies.items()}
        each = {
            title: f"{judged_words(judgement, studies[title])}: {judgement.span()}"
            for title, judgement in here.items()
        }
        statement = next(iter(here.values())).claim.statement
        rows.append({"conclusion": statement, **each, "in all": _count([*here.values()])})
        data += [{"data": t, "claim": j.key, "verdict": j.verdict} for t, j in here.items()]
    return html.table(
        pd.DataFrame(rows),
        "elsewhere-verdicts",
        key=f"agreed:{agreed}",
        finding=f"{agreed or 'None'} of {len(_shared(studies))} conclusions "
        f"{'has' if agreed == 1 else 'have'} the same clear verdict everywhere, before Holm's "
        "correction.",
        caption="Each verdict is reached on its data set alone; its 95 % CI is for other trainings "
        "and other images of that kind.",
        data=pd.DataFrame(data, columns=["data", "claim", "verdict"]),
    )


def _count(judged: list[claims.Judgement]) -> str:
    """Whether the verdicts agree."""
    verdicts = {judgement.verdict for judgement in judged}
    if verdicts == {"inconclusive"}:
        return "unclear"
    return "mixed" if len(verdicts) > 1 else "the same verdict"


def forest(studies: dict[str, Analysis]) -> HTML:
    """What each choice changes on each data set, and on the mean over these sets."""
    if not studies:
        return finding("No data set has a run of every configuration yet.")
    choices = {title: study.effects for title, study in studies.items()}
    labels = list(dict.fromkeys(choice for effects in choices.values() for choice in effects))
    means = {label: _mean(choices, label) for label in labels}
    together = {label: mean for label, mean in means.items() if mean.known}
    drawn = choices | ({"mean over these sets": together} if together else {})
    figure = canvas(7.2, 1.6 + 0.12 * len(labels) * (len(drawn) + 1))
    axes = figure.subplots()
    for line, (title, effects) in enumerate(drawn.items()):
        mean = effects is together
        colour = INK if mean else SERIES[line % len(SERIES)]
        marker = "D" if mean else MARKERS[line % len(MARKERS)]
        for label, estimate in effects.items():
            height = -labels.index(label) - 0.7 * ((line + 0.5) / len(drawn) - 0.5)
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.5)
            axes.plot(estimate.effect, height, marker, color=colour, label=plain(title, 80))
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-line for line in range(len(labels))], labels)
    metrics = dict.fromkeys(study.evidence.metric for study in studies.values())
    axes.set_xlabel(f"change of {' or '.join(metrics)}, percentage points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"data": title, "choice": label, **asdict(estimate)}
        for title, effects in drawn.items()
        for label, estimate in effects.items()
    )
    clear = [label for label in labels if len({_sign(e[label]) for e in choices.values()
                                               if label in e} - {0}) == 2]  # fmt: skip
    return html.figure(
        figure,
        "elsewhere",
        finding=(
            f"Some choices help on one data set and hurt on another: {'; '.join(clear)}."
            if clear
            else "No choice clearly helps on one data set and clearly hurts on another."
        )
        if len(studies) > 1
        else f"What each choice changes on {next(iter(studies))}.",
        caption="95 % intervals, on each data set for all choices at once. A mean is shown where "
        "the data sets do not clearly differ, and holds for these data sets alone.",
        alt=sentences(data, "{data}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
    )


def _mean(choices: dict[str, dict[str, Estimate]], label: str) -> Estimate:
    """The mean effect of a choice; unknown where the data sets clearly differ."""
    estimates = [effects[label] for effects in choices.values() if label in effects]
    if cochran(estimates)[1] < 1 - LEVEL:
        return unknown("the data sets differ by more than chance")
    return mean_over(estimates)


def _sign(estimate: Estimate) -> int:
    return int(estimate.low > 0) - int(estimate.high < 0)


def means(studies: dict[str, Analysis]) -> HTML:
    """The mean effect over these data sets, and whether they differ by more than chance."""
    if len(studies) < 2:
        return html.paragraph(["A mean over data sets needs at least two of them."])
    judged = [
        {judgement.key: judgement.estimate for judgement in e.claims} for e in studies.values()
    ]
    rows, data = [], []
    keys = [key for key in SAME_EVERYWHERE if key in _shared(studies)]
    tested = [cochran([every[key] for every in judged]) for key in keys]
    corrected = claims.holm([p for _, p in tested])
    for key, (q, _), p in zip(keys, tested, corrected, strict=True):
        estimates = [every[key] for every in judged]
        mean = mean_over(estimates)
        each = joined(number(e.effect, sign=True) for e in estimates)
        rows.append(
            {
                "effect": next(iter(studies.values())).judgement[key].claim.measured,
                "mean over these data sets": f"they differ: {each} points"
                if p < 1 - LEVEL
                else effect_with_interval(mean),
                "Cochran's Q": number(q) + f" on {len(studies) - 1}" * mean.known,
                "p after Holm": p_value(p),
            }
        )
        data.append({"claim": key, **asdict(mean), "q": q, "q_p": p})
    clear = sum(float(row["q_p"]) < 1 - LEVEL for row in data)
    return html.table(
        pd.DataFrame(rows),
        "elsewhere-means",
        key=f"differ:{clear}",
        finding=f"{clear or 'None'} of {len(rows)} effects "
        f"{'differs' if clear == 1 else 'differ'} between the data sets by more than chance.",
        caption="A mean has equal weights and holds for these data sets alone; it is not shown "
        "where they differ. With so few data sets, a large p does not say that they agree.",
        data=pd.DataFrame(data),
    )
