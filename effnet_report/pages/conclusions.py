"""The page Conclusions: every claim with its verdict, and how far the verdicts can be trusted."""

import json

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core import paths
from effnet_report.inference import claims
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.claims import Judgement
from effnet_report.inference.seeds_and_images import LEVEL
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    COLOUR,
    INK,
    OURS,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import (
    finding,
    link,
    listing,
    paragraph,
    table,
    write_to_site,
)

SIMULATE = "<code>python -m bench.coverage</code>"
WANTED = (93.0, 97.0)  # per cent of simulated studies, for an interval of 95 %
MOST_SEEDS = 10
IMAGES = np.geomspace(500, 50_000, 41).round().astype(int)


def answer(analysis: Analysis) -> HTML:
    """How many of the source's conclusions these data bear."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    verdicts = [one.verdict for one in analysis.claims if one.key in claims.SOURCES]
    return finding(
        f"Of the source's {len(verdicts)} conclusions, this study supports "
        f"{verdicts.count('supported')}, contradicts {verdicts.count('contradicted')} and leaves "
        f"{verdicts.count('inconclusive')} open.",
        *coverage(evidence),
    )


def in_words(analysis: Analysis) -> HTML:
    """Every conclusion as this study words it."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    return listing(judgement.sentence for judgement in analysis.claims)


def verdicts(analysis: Analysis) -> HTML:
    """Each conclusion with its verdict on this study, beside the source's table."""
    of_source = {judgement.key: judgement for judgement in claims.of_source()}
    judged = [(ours, of_source.get(ours.key)) for ours in analysis.claims]
    frame = pd.DataFrame(
        {
            "conclusion": ours.claim.statement,
            "drawn by": "the source" if ours.key in claims.SOURCES else "this report",
            "this study": _verdict(ours, "interval"),
            "the source's table: consistent over its configurations?": _verdict(
                theirs, "consistency interval"
            )
            if theirs
            else DASH,
        }
        for ours, theirs in judged
    )
    verdicts = [ours.verdict for ours, _ in judged]
    margin = number(analysis.margin)
    return table(
        frame,
        "conclusions",
        finding=(
            f"Of {len(verdicts)} conclusions, this study supports {verdicts.count('supported')}, "
            f"contradicts {verdicts.count('contradicted')} and leaves "
            f"{verdicts.count('inconclusive')} open."
        ),
        caption=(
            "A gain is supported when its 95 % interval lies above zero and reaches "
            f"{margin} points, the smallest effect of interest; it is contradicted when the "
            f"interval ends below {margin}. The source's table holds one run per configuration: "
            "it cannot say whether an effect would hold for other trainings. As data: "
        )
        + _verdict_files(analysis),
        data=pd.DataFrame(
            {"data": data, **row}
            for data, part in (
                ("this study", [ours for ours, _ in judged]),
                ("source's table", [theirs for _, theirs in judged if theirs]),
            )
            for row in claims.as_records(part)
        ),
    )


def _verdict(judgement: Judgement, kind: str) -> Markup:
    return Markup("<strong>{}</strong>: {}").format(judgement.verdict, judgement.span(kind))


def _verdict_files(analysis: Analysis) -> Markup:
    """Links to the verdicts as JSON, which are put beside the pages."""
    files = {
        "claims.json": (analysis.claims, "this study"),
        "source-claims.json": (claims.of_source(), "the source's table"),
    }
    return Markup(", ").join(
        link(write_to_site("data", name, claims.as_json(judged)), words)
        for name, (judged, words) in files.items()
    ) + Markup(".")


@needs_runs
def resolving(analysis: Analysis) -> HTML:
    """Smallest difference that a study of so many seeds, or of so many images, can resolve."""
    evidence = analysis.evidence
    parts, found = analysis.components, analysis.correctness
    if not parts:
        return paragraph(["It takes two complete seeds to say how small a change could be seen."])
    seeds, images = len(found.seeds), found.images
    every = sum(getattr(evidence.finished[0].facts, f"{part}_images")
                for part in ("train", "validation", "test"))  # fmt: skip
    # Folds that are not trained yet are counted too: they bring the rest of the images.
    designs = {"as many folds over all images": (every, True)}
    if not found.folds:
        designs = {"as here": (images, False), **designs}
    rows = [
        {"comparison": name, "design": design, "seeds": count, "images": size,
         "smallest": one.smallest(count, size, folds=folds), "floor": one.floor(size)}
        for name, one in parts.items()
        for design, (size, folds) in designs.items()
        for count in range(2, MOST_SEEDS + 1)
    ]  # fmt: skip
    rows += [
        {"comparison": name, "design": "one test set", "seeds": seeds, "images": size,
         "smallest": one.smallest(seeds, size), "floor": one.floor(size)}
        for name, one in parts.items() for size in IMAGES
    ]  # fmt: skip
    data = pd.DataFrame(rows)
    figure = canvas(7.2, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    margin, colours = analysis.margin, _colours(list(parts))
    for (name, design), line in data.groupby(["comparison", "design"], sort=False):
        over_images = design == "one test set"
        axes, x = (right, "images") if over_images else (left, "seeds")
        style = "--" if "folds" in design and not found.folds else "-"
        axes.plot(line[x], line["smallest"], style, color=colours[name],
                  label=name if over_images else None)  # fmt: skip
        if style == "-":
            axes.plot(line[x], line["floor"], ":", color=colours[name], linewidth=1)
    for axes in (left, right):
        axes.axhline(margin, color=INK, linewidth=1, label="smallest that matters")
    kind = "each with a fold of its own" if found.folds else "dashed: in folds"
    left.set(xlabel=f"seeds ({kind})", ylabel="difference, points")
    left.set(xticks=range(2, MOST_SEEDS + 1), ylim=(0, None))
    right.set(xlabel=f"test images, with {seeds} seeds", xscale="log")
    legend(figure, right)
    now = {name: one.smallest(seeds, images, folds=found.folds) for name, one in parts.items()}
    worst = max(now, key=lambda name: now[name])
    best = min(now, key=lambda name: now[name])
    return html.figure(
        figure,
        "resolving-power",
        finding=(
            f"With {seeds} seeds and {images:,} test images, {best} have to differ by "
            f"{number(now[best])} points to be told apart, and {worst} by {number(now[worst])}."
        ),
        caption=(
            "Smallest true difference whose 95 % interval excludes zero four times out of five, "
            "from the variance that seeds and images have in this study. Dotted: what is left with "
            "any number of seeds; only more images lower it. "
            + (
                f"Left: {every:,} images in as many folds as seeds. Right: one test set for all, "
                "at most so much, as folds cannot tell what images alone explain. "
                if found.folds
                else "Dashed: if every seed tested another share of all images that a seed uses "
                "now. "
            )
            + "One seed alone resolves nothing."
        ),
        alt=sentences(
            data[data["seeds"].isin([2, seeds, MOST_SEEDS])].iloc[::4],
            "{comparison}, {seeds} seeds, {images} images ({design}): {smallest:.2f} points",
        ),
        data=data,
    )


def _colours(names: list[str]) -> dict[str, str]:
    return dict(zip(names, [OURS, COLOUR["cosine"], "#009E73", "#CC79A7"], strict=False))


def simulation() -> HTML:
    """How often the intervals cover the truth in simulated studies."""
    path = paths.coverage()
    if not path.is_file():
        return paragraph(["The simulation has not been run yet:", Markup(SIMULATE)])
    found = json.loads(path.read_text(encoding="utf-8"))
    data = pd.DataFrame(
        {
            "studies": case["kind"],
            "size": f"{case['seeds']} {'folds' if case['folds'] else 'seeds'}",
            "claim": claim,
            "covered": covered,
        }
        for case in found["cases"]
        for claim, covered in case["covered"].items()
    )
    ranges = data.groupby(["claim", "studies"], sort=False)["covered"].agg(["min", "max"])
    cells = ranges.apply(
        lambda row: f"{number(row['min'])} to {number(row['max'])}", axis="columns"
    ).unstack()
    null = data[(data["studies"] == "no effects") & (data["claim"] == "all choices")]["covered"]
    low, high = WANTED
    inside = data["covered"].between(low, high).mean()
    return table(
        cells[list(data["studies"].unique())].fillna(DASH).reset_index(),
        "simulation",
        finding=(
            f"95 % intervals cover the truth in {number(data['covered'].min())} to "
            f"{number(data['covered'].max())} % of simulated studies, and in {number(low, 0)} to "
            f"{number(high, 0)} % in {number(100 * inside, 0)} % of the cases; without any effect, "
            f"at most {number(100 - null.min())} % of the studies show a clear choice."
        ),
        caption=Markup(
            "Per cent of {} studies, lowest and highest over {}: new seeds and new images from a "
            "model of per-image correctness, fitted to {}. All depths, configuration 1, all "
            "choices, and depths at each level of another factor: all intervals of a study at "
            "once. {} To repeat it: {}."
        ).format(
            f"{found['replicates']:,}",
            ", ".join(data["size"].unique()),
            found["study"],
            _outside(data),
            Markup(SIMULATE),
        ),
        data=data,
    )


def _outside(data: pd.DataFrame) -> str:
    """Which intervals cover less, or more, often than wanted, and where."""
    low, high = WANTED
    return (
        f"Less than {number(low, 0)} %: {_where(data[data['covered'] < low])}. More than "
        f"{number(high, 0)} %, so that it is wider than need be: "
        f"{_where(data[data['covered'] > high])}."
    )


def _where(outside: pd.DataFrame) -> str:
    """Claims, and the kinds of study in which they are outside."""
    by_claim = outside.groupby("claim", sort=False)["studies"].unique()
    return "; ".join(f"{claim} ({', '.join(kinds)})" for claim, kinds in by_claim.items()) or "none"


def methods(analysis: Analysis) -> HTML:
    """How each verdict on this study was reached."""
    judged = analysis.claims
    frame = pd.DataFrame(
        {
            "measured": j.measured,
            "seeds": j.estimate.seeds,
            "images": j.estimate.images or DASH,
            "degrees of freedom": j.estimate.freedom,
            "p": p_value(j.estimate.p),
            "p after Holm": p_value(j.adjusted_p),
            "method": j.estimate.method,
        }
        for j in judged
    )
    left = sum(j.adjusted_p < 1 - LEVEL for j in judged)
    return table(
        frame,
        "methods",
        finding=f"After correction for their number, {left} of {len(judged)} p stay below "
        f"{number(100 * (1 - LEVEL), 0)} %.",
        caption=(
            "p: probability of a result at least as far from no effect, if there were none; for "
            "the deepest freeze, from a loss of the size that matters. It comes from the same t as "
            f"the interval. {claims.by_chance(judged)}"
        ),
    )
