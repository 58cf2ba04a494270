"""Does it hold elsewhere? The same design on several data sets, side by side."""

from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd
from IPython.display import HTML

from effnet_report.evidence.evidence import shown
from effnet_report.inference import analysis, claims
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import Estimate
from effnet_report.inference.several import cochran, mean_over
from effnet_report.inference.wording import effect_with_interval
from effnet_report.numbers import number, p_value
from effnet_report.render import html
from effnet_report.render.drawing import COLOUR, INK, OURS, canvas, legend, plain, sentences
from effnet_report.render.html import finding

# Below this many data sets nothing is said about images in general: with two, the interval for
# a mean over all kinds of images is nine times as wide as the two lie apart.
FEWEST = 5
# What means the same on every data set; the depth that keeps the accuracy may differ.
SAME_EVERYWHERE = ("classical", "freeze", "head", "scheduler", "optimism")
COLOURS = (OURS, COLOUR["cosine"], "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "os^vPX"


def studies() -> dict[str, Analysis]:
    """The book's studies that can be judged, by title, the main one first.

    One on the same images as an earlier one is left out: it is no other data set.
    """
    found: dict[str, Analysis] = {}
    seen: set[str] = set()
    for reference in shown():
        study = analysis.load(reference)
        if study.correctness.seeds:
            data = study.evidence.finished[0].fingerprints.data
            if data not in seen:
                found[study.evidence.design.title] = study
            seen.add(data)
    return found


def answer(found: dict[str, Analysis]) -> HTML:
    """Whether the conclusions are the same, and how far that carries."""
    return finding(*_answer(found), *_left_out(found))


def _answer(found: dict[str, Analysis]) -> Iterator[str]:
    if len(found) < 2:
        yield "This book has results on " + (f"one data set: {next(iter(found))}." if found
                                             else "no data set yet.")  # fmt: skip
        yield "Whether they hold on other images, it cannot say."
        return
    verdicts = [{one.key: one.verdict for one in e.claims} for e in found.values()]
    decided = [key for key in claims.CLAIMS if all(v[key] != "inconclusive" for v in verdicts)]
    agreed = [key for key in decided if len({v[key] for v in verdicts}) == 1]
    yield f"The same design ran on {len(found)} data sets: {'; '.join(found)}."
    yield (
        f"Of {len(claims.CLAIMS)} conclusions, {len(decided)} are decided on every one of them, "
        f"and {len(agreed)} of these in the same way."
    )
    if len(found) < FEWEST:
        yield f"That is about these data sets: for images in general, {len(found)} are too few."


def _left_out(found: dict[str, Analysis]) -> Iterator[str]:
    """What is missing of the studies compared, and the book's studies that are not, and why."""
    for title, study in found.items():
        evidence = study.evidence
        if evidence.unfinished:
            runs = f"{len(evidence.finished)} of {len(evidence.planned)} runs"
            yield f"Of {title} only {runs} are here yet: its intervals will change."
    compared = {study.evidence.reference for study in found.values()}
    for reference in shown():
        if reference not in compared:
            study = analysis.load(reference)
            why = (
                "is on the same images as another"
                if study.correctness.seeds
                else "has no seed with a run of every configuration yet"
            )
            yield f"Not here: {study.evidence.design.title}, which {why}."


def verdicts(found: dict[str, Analysis]) -> HTML:
    """Every conclusion's verdict on every data set, counted with all words."""
    judged = {title: study.claims for title, study in found.items()}
    rows, data = [], []
    for place, claim in enumerate(claims.CLAIMS.values()):
        here = {title: every[place] for title, every in judged.items()}
        each = {title: f"{one.verdict}: {one.span()}" for title, one in here.items()}
        rows.append({"conclusion": claim.statement, **each, "in all": _count([*here.values()])})
        data += [{"data": t, "claim": j.key, "verdict": j.verdict} for t, j in here.items()]
    return html.table(
        pd.DataFrame(rows),
        "elsewhere-verdicts",
        finding=f"The verdicts on {len(found)} data set{'' if len(found) == 1 else 's'}.",
        caption="Each verdict is reached on its data set alone, with its 95 % interval for other "
        "trainings and other images of that kind.",
        data=pd.DataFrame(data, columns=["data", "claim", "verdict"]),
    )


def _count(judged: list[claims.Judgement]) -> str:
    found = [one.verdict for one in judged]
    return (
        f"supported on {found.count('supported')} of {len(found)}, contradicted on "
        f"{found.count('contradicted')}, open on {found.count('inconclusive')}"
    )


def forest(found: dict[str, Analysis]) -> HTML:
    """What each choice changes on each data set, and on the mean over these sets."""
    if not found:
        return finding("No data set has a run of every configuration yet.")
    choices = {title: study.effects for title, study in found.items()}
    labels = list(dict.fromkeys(choice for effects in choices.values() for choice in effects))
    every = {label: mean_over([e[label] for e in choices.values() if label in e])
             for label in labels}  # fmt: skip
    together = {label: mean for label, mean in every.items() if mean.known}
    shown = choices | ({"mean over these sets": together} if together else {})
    figure = canvas(7.2, 1.6 + 0.12 * len(labels) * (len(shown) + 1))
    axes = figure.subplots()
    for place, (title, effects) in enumerate(shown.items()):
        mean = effects is together
        colour = INK if mean else COLOURS[place % len(COLOURS)]
        marker = "D" if mean else MARKERS[place % len(MARKERS)]
        for label, estimate in effects.items():
            height = -labels.index(label) - 0.7 * ((place + 0.5) / len(shown) - 0.5)
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.5)
            axes.plot(estimate.effect, height, marker, color=colour, label=plain(title, 80))
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel("change of accuracy, percentage points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"data": title, "choice": label, **asdict(estimate)}
        for title, effects in shown.items()
        for label, estimate in effects.items()
    )
    clear = [label for label in labels if len({_sign(e[label]) for e in choices.values()
                                               if label in e} - {0}) == 2]  # fmt: skip
    return html.figure(
        figure,
        "elsewhere",
        finding=(
            f"Clear in opposite directions on different data sets: {'; '.join(clear)}."
            if clear
            else "No choice is clearly better on one data set and clearly worse on another."
        )
        if len(found) > 1
        else f"What each choice changes on {next(iter(found))}.",
        caption="95 % intervals, on each data set for all choices at once; that of the mean is for "
        "each choice by itself, and for these data sets alone.",
        alt=sentences(data, "{data}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
    )


def _sign(estimate: Estimate) -> int:
    return int(estimate.low > 0) - int(estimate.high < 0)


def means(found: dict[str, Analysis]) -> HTML:
    """The mean effect over these data sets, and whether they differ by more than chance."""
    if len(found) < 2:
        return html.paragraph(["A mean over data sets needs at least two of them."])
    judged = [{one.key: one.estimate for one in e.claims} for e in found.values()]
    rows, data = [], []
    for key in SAME_EVERYWHERE:
        estimates = [every[key] for every in judged]
        mean, (q, p) = mean_over(estimates), cochran(estimates)
        rows.append(
            {
                "effect": claims.CLAIMS[key].measured,
                "mean over these data sets": effect_with_interval(mean),
                "do they differ? Cochran's Q": number(q) + f" on {len(found) - 1}" * mean.known,
                "p": p_value(p),
            }
        )
        data.append({"claim": key, **asdict(mean), "q": q, "q_p": p})
    return html.table(
        pd.DataFrame(rows),
        "elsewhere-means",
        finding=f"Means over these {len(found)} data sets, each with the same weight.",
        caption="A mean holds for other trainings and other images of these kinds, not for other "
        "data sets. A small p says that the data sets differ by more than chance; a large one, "
        "with so few of them, does not say that they agree.",
        data=pd.DataFrame(data),
    )
