"""The page Statistical methods: how verdicts are reached, and how far they can be trusted."""

import math
from dataclasses import asdict
from itertools import chain, cycle

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import Protocol
from effnet_report import words
from effnet_report.inference import claims
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.claims import Judgement
from effnet_report.inference.power import Components
from effnet_report.inference.seeds_and_images import LEVEL
from effnet_report.measurements.coverage import Coverage
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, needs_runs, not_measured, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import INK, SERIES, canvas, legend, logarithmic, sentences
from effnet_report.render.html import apart, finding, paragraph, table
from effnet_report.words import joined

SIMULATE = "python -m bench.coverage"
WANTED = (93.0, 97.0)  # per cent of simulated studies, for an interval of 95 %
# Simulated claims about the number of frozen stages that do not name it.
OF_DEPTHS = {"trend", "time or memory", "all depths", "depths at each level of another factor"}
MOST_SEEDS = 10
IMAGES = np.geomspace(500, 50_000, 41).round().astype(int)


def answer(analysis: Analysis) -> HTML:
    """How many verdicts survive the correction, and how small a difference could be seen."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    sentence, key = _significant(analysis)
    return finding(
        sentence,
        *_covered(),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
        key=key,
    )


def _significant(analysis: Analysis) -> tuple[str, str]:
    """How many results the correction for all of them leaves, and the stable name of that."""
    if not _tested(analysis):
        return "No result rests on an interval yet.", "holm:none"
    left = _left(analysis)
    verb = "remains" if left == 1 else "remain"
    results = f"{left} of {_tested(analysis)} results {verb} significant after Holm's correction"
    if others := _of_other_images(analysis):
        counted = [
            f"{_left(other)} of {_tested(other)} on {shown.about(other).name}" for other in others
        ]
        results += f" on {shown.about(analysis).name}, and {words.joined(counted)}"
    return f"{results}.", f"holm:{left}"


def _tested(analysis: Analysis) -> int:
    """How many results have a p."""
    return sum(judgement.estimate.known for judgement in analysis.claims)


def _left(analysis: Analysis) -> int:
    """How many results are significant after correction for all of the study."""
    return sum(judgement.adjusted_p < 1 - LEVEL for judgement in analysis.claims)


def _covered() -> list[str]:
    """How often intervals cover the truth, if that was simulated."""
    simulated = Coverage.load()
    if simulated is None:
        return []
    shares = [covered for case in simulated.cases for covered in case.covered.values()]
    return [
        f"In simulated studies, 95 % intervals cover the truth in {number(min(shares))} to "
        f"{number(max(shares))} % of the cases."
    ]


def verdicts(analysis: Analysis) -> HTML:
    """How each verdict was reached, on this study and on the other data sets of the first page."""
    judged = analysis.claims
    others = _of_other_images(analysis)
    frame = pd.concat(
        [_reached(judged), *(_reached(other.claims) for other in others)],
        keys=[shown.about(study).name for study in (analysis, *others)],
        names=["data set"],
    )
    sentence, key = _significant(analysis)
    return table(
        frame.reset_index("data set") if others else frame,
        "methods",
        finding=sentence,
        key=key,
        caption=(
            "p is how often chance would give a result at least this far from the value that it is "
            "tested against, if that were the truth; a saving of time or memory at a depth gets at "
            "least the corrected p of that depth. "
            f"{claims.by_chance([*judged, *chain.from_iterable(o.claims for o in others)])}"
        ),
    )


def _of_other_images(analysis: Analysis) -> list[Analysis]:
    """The studies of the first page that are of other images."""
    if not analysis.evidence.finished:
        return []
    return [study for study in shown.advising() if not shown.same_images(study, analysis)]


def _tested_against(judgement: Judgement) -> str:
    """The effect that p speaks against, in the unit of the claim."""
    if judgement.claim.verdicts is claims.NO_GAIN:
        return number(judgement.margin, sign=True)
    return number(-judgement.margin) if judgement.key == "depth" else "0"


def _reached(judged: list[Judgement]) -> pd.DataFrame:
    """How each verdict on one study was reached."""
    return pd.DataFrame(
        {
            "measured": j.measured,
            "effect": j.span() if j.estimate.known else DASH,
            "tested against": _tested_against(j),
            "seeds": j.estimate.seeds,
            "images": j.estimate.images or DASH,
            "degrees of freedom": j.estimate.freedom,
            "p": p_value(j.estimate.p),
            "p after Holm": p_value(j.adjusted_p),
            "method": j.estimate.method,
        }
        for j in judged
    )


def simulation(analysis: Analysis) -> HTML:
    """How often the intervals cover the truth in simulated studies, for what this one compares."""
    simulated = Coverage.load()
    if simulated is None:
        return not_measured(SIMULATE)
    data = pd.DataFrame(
        {
            "studies": case.kind,
            "size": f"{case.seeds} {'folds' if case.folds else 'seeds'}",
            "claim": claim,
            "covered": covered,
        }
        for case in simulated.cases
        for claim, covered in case.covered.items()
    )
    ranges = data.groupby(["claim", "studies"], sort=False)["covered"].agg(["min", "max"])
    cells = ranges.apply(
        lambda row: f"{number(row['min'])}\N{EN DASH}{number(row['max'])}", axis="columns"
    ).unstack()
    null = data[(data["studies"] == "no effects") & (data["claim"] == "all choices")]["covered"]
    low, high = WANTED
    inside = data["covered"].between(low, high).mean()
    own, least = len(analysis.correctness.seeds), min(case.seeds for case in simulated.cases)
    kinds = [kind for kind in data["studies"].unique() if _is_compared(kind, analysis)]
    compared = [claim for claim in cells.index if _is_compared(claim, analysis)]
    return table(
        cells.loc[compared, kinds].fillna(DASH).reset_index(),
        "simulation",
        finding=(
            f"{number(100 * inside, 0)} % of the shares lie between {number(low, 0)} and "
            f"{number(high, 0)} %, where 95 % are promised; without any effect, at most "
            f"{number(100 - null.min())} % of the studies show a clear choice."
        ),
        caption=Markup(
            "Lowest and highest share of {} simulated studies, in per cent, over {}{}; the model "
            "of per-image correctness is fitted to {}. Chance alone moves a share of 95 % by up "
            "to {} points; <code>{}</code> simulates it again."
        ).format(
            f"{simulated.replicates:,}",
            ", ".join(data["size"].unique()),
            f" (the {own} complete seeds here are fewer)" if own < least else "",
            simulated.study,
            number(196 * math.sqrt(0.95 * 0.05 / simulated.replicates)),
            SIMULATE,
        ),
        data=data,
    )


def _is_compared(simulated: str, analysis: Analysis) -> bool:
    """Whether a simulated claim or kind of study is about no factor that this study lacks."""
    lacking = Protocol.model_fields.keys() - analysis.evidence.factors
    if simulated in OF_DEPTHS:
        return "freeze" not in lacking
    return not any(
        simulated.startswith((f"{words.factor(name)} ", f"{name} ", f"{name}s "))
        or simulated in words.LEVELS.get(name, {}).values()
        for name in lacking
    )


def neighbours(analysis: Analysis) -> HTML:
    """Accuracy with neighbouring images on one side of the split, where that was measured."""
    changes = shown.flattery(analysis)
    if not changes:
        return paragraph(["No split by neighbouring images was tried on these images."])
    metric, block = analysis.evidence.metric, changes[0].block
    frame = pd.DataFrame(
        {
            "frozen stages": change.frozen,
            "seeds": change.seeds,
            "random split, %": change.random,
            "blocks on one side, %": change.random + change.effect,
            "change, points": f"{number(change.effect, sign=True)} "
            f"({number(change.low, sign=True)} to {number(change.high, sign=True)})",
        }
        for change in changes
    )
    listed = [
        f"by {number(change.effect, sign=True)} points with {change.frozen or 'no'} frozen stages"
        for change in changes
    ]
    return table(
        frame,
        "neighbours",
        key=f"neighbours:{sum(change.high < 0 for change in changes)}",
        finding=f"With blocks of {block} neighbouring images on one side of the split, {metric} "
        f"changes {joined(listed)}.",
        caption="The same configuration was trained with both kinds of split and is compared on "
        "the images that both have tested. The 95 % intervals treat a block as one observation.",
        data=pd.DataFrame(asdict(change) for change in changes),
    )


@needs_runs
def resolving(analysis: Analysis) -> HTML:
    """Smallest difference that a study of so many seeds, or of so many images, can resolve."""
    evidence = analysis.evidence
    parts, correctness = analysis.components, analysis.correctness
    if not parts:
        return paragraph(["Two complete seeds are needed to say how small a change could be seen."])
    seeds, images = len(correctness.seeds), correctness.images
    every = sum(getattr(evidence.finished[0].facts, f"{part}_images")
                for part in ("train", "validation", "test"))  # fmt: skip
    # Folds that are not trained yet are counted too: they bring the rest of the images.
    designs = {"as many folds over all images": (every, True)}
    if not correctness.folds:
        designs = {"as here": (images, False), **designs}
    data = _smallest(parts, designs, seeds)
    figure = canvas(7.2, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    margin, colours = analysis.margin, dict(zip(parts, cycle(SERIES), strict=False))
    for (name, design), line in data.groupby(["comparison", "design"], sort=False):
        over_images = design == "one test set"
        axes, x = (right, "images") if over_images else (left, "seeds")
        style = "--" if "folds" in design and not correctness.folds else "-"
        axes.plot(line[x], line["smallest"], style, color=colours[name],
                  label=name if over_images else None)  # fmt: skip
        if style == "-":
            axes.plot(line[x], line["floor"], ":", color=colours[name], linewidth=1)
    for axes in (left, right):
        axes.axhline(margin, color=INK, linewidth=1, label="smallest that matters")
    kind = "each with a fold of its own" if correctness.folds else "dashed: in folds"
    left.set(xlabel=f"seeds ({kind})", ylabel="difference, points")
    left.set(xticks=range(2, MOST_SEEDS + 1), ylim=(0, None))
    right.set_xlabel(f"test images, with {seeds} seeds")
    logarithmic(right)
    legend(figure, right)
    now = {
        name: part.smallest(seeds, images, folds=correctness.folds) for name, part in parts.items()
    }
    best, worst = (choose(now, key=lambda name: now[name]) for choose in (min, max))
    also = f", and of {number(now[worst])} points between {worst}" if worst != best else ""
    return html.figure(
        figure,
        "resolving-power",
        finding=(
            f"With {seeds} seeds and {images:,} test images this study detects a difference of "
            f"{number(now[best])} points between {best}{also}."
        ),
        caption=(
            "Smallest true difference whose 95 % interval excludes zero in four of five studies; "
            "dotted lines are the limit for any number of seeds. "
            + (
                f"On the left, {every:,} images are divided into as many folds as seeds."
                if correctness.folds
                else "Dashed lines are for seeds that each test another share of the images."
            )
        ),
        alt=sentences(
            data[data["seeds"].isin([2, seeds, MOST_SEEDS])].iloc[::4],
            "{comparison}, {seeds} seeds, {images} images ({design}): {smallest:.2f} points",
        ),
        data=data,
    )


def _smallest(
    parts: dict[str, Components], designs: dict[str, tuple[int, bool]], seeds: int
) -> pd.DataFrame:
    """The smallest difference that more seeds, or more images with as many seeds, can resolve.

    Args:
        parts: variance components, by comparison.
        designs: by name, the number of images and whether the seeds share them out.
        seeds: of the study.
    """
    rows = [
        {"comparison": name, "design": design, "seeds": count, "images": size,
         "smallest": part.smallest(count, size, folds=folds), "floor": part.floor(size)}
        for name, part in parts.items()
        for design, (size, folds) in designs.items()
        for count in range(2, MOST_SEEDS + 1)
    ]  # fmt: skip
    rows += [
        {"comparison": name, "design": "one test set", "seeds": seeds, "images": size,
         "smallest": part.smallest(seeds, size), "floor": part.floor(size)}
        for name, part in parts.items() for size in IMAGES
    ]  # fmt: skip
    return pd.DataFrame(rows)
