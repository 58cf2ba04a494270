"""The page Conclusions: every claim with its verdict, and how far the verdicts can be trusted."""

import math
from collections import Counter
from dataclasses import asdict

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import SOURCE_FACTORS, Protocol
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import measurements, source
from effnet_report.inference import claims, contrasts, enough
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.claims import Judgement
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.inference.seeds_and_images import LEVEL, Estimate
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    BAND,
    COLOUR,
    INK,
    OURS,
    THEIRS,
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
# Simulated claims about the number of frozen stages that do not name it.
OF_DEPTHS = {"trend", "time or memory", "all depths", "depths at each level of another factor"}
MOST_SEEDS = 10
IMAGES = np.geomspace(500, 50_000, 41).round().astype(int)


def answer(analysis: Analysis) -> HTML:
    """How many of the source's conclusions these data bear."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = [one for one in analysis.claims if one.key in claims.SOURCES]
    counts = Counter(one.verdict for one in judged)
    return finding(
        f"Of the source's {len(judged)} conclusions, {_counted(counts, analysis)} on these images.",
        *coverage(evidence),
        key=":".join(str(counts[verdict]) for verdict in ("supported", "contradicted")),
    )


def _counted(counts: Counter[str], analysis: Analysis) -> str:
    """Every verdict with its number, as in `2 are supported and 3 are unclear`."""
    parts = [
        f"{count} {'is' if count == 1 else 'are'} {verdict_words(verdict, analysis)}"
        for verdict in ("supported", "contradicted", "inconclusive")
        if (count := counts[verdict])
    ]
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def verdict_words(verdict: str, analysis: Analysis) -> str:
    """A verdict of `claims.Verdict` as the report says it.

    Only the source's own network, images and protocol could contradict the source.
    """
    protocol, theirs = analysis.evidence.design.protocol, load_study("paper").protocol
    same = (protocol.backbone, protocol.dataset) == (theirs.backbone, theirs.dataset)
    return {
        "supported": "supported",
        "contradicted": "contradicted" if same else "not observed here",
        "inconclusive": "unclear",
    }[verdict]


def judged_words(judgement: Judgement, analysis: Analysis) -> str:
    """The same of one judgement: whether a gain survives the correction for all claims is said."""
    plain = verdict_words(judgement.verdict, analysis)
    rests_on_p = judgement.verdict == "supported" and judgement.claim.verdicts is claims.GAIN
    if rests_on_p and judgement.adjusted_p > 1 - LEVEL:
        return f"{plain}, but not after Holm's correction"
    return plain


def in_words(analysis: Analysis) -> HTML:
    """Every conclusion as this study words it."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    return listing({f"{one.key}:{one.verdict}": one.sentence for one in analysis.claims})


def verdicts(analysis: Analysis) -> HTML:
    """Each conclusion with its verdict on this study, beside the source's table."""
    of_source = {judgement.key: judgement for judgement in claims.of_source()}
    judged = [(ours, of_source.get(ours.key)) for ours in analysis.claims]
    frame = pd.DataFrame(
        {
            "conclusion": ours.claim.statement,
            "drawn by": "the source" if ours.key in claims.SOURCES else "this report",
            "verdict here": Markup('<strong data-finding="{}">{}</strong>').format(
                f"{ours.key}:{ours.verdict}",
                judged_words(ours, analysis),
            ),
            "effect here": ours.span(),
            "p after Holm": p_value(ours.adjusted_p),
            "consistent in the source's table": theirs.verdict if theirs else DASH,
        }
        for ours, theirs in judged
    )
    counts = Counter(ours.verdict for ours, _ in judged)
    title = f"Of {len(judged)} conclusions, {_counted(counts, analysis)} on these images."
    return table(
        frame,
        "conclusions",
        finding=title,
        caption=Markup(
            "A gain is supported when its 95 % CI lies above zero and reaches {} points; a claim "
            "is not observed here when no gain of that size is left. Verdicts as JSON: {}"
        ).format(number(analysis.margin), _verdict_files(analysis)),
        data=pd.DataFrame(
            {"data": data, **row}
            for data, part in (
                ("this study", [ours for ours, _ in judged]),
                ("source's table", [theirs for _, theirs in judged if theirs]),
            )
            for row in claims.as_records(part)
        ),
    )


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


def forest(analysis: Analysis) -> HTML:
    """Forest plot: what each choice changes, all choices looked at at once."""
    compared: dict[str, tuple[Compared, str, str, float]] = {}
    if shared := [factor for factor in SOURCE_FACTORS if factor in analysis.evidence.factors]:
        compared["source"] = (OneTable(source.results(), shared), THEIRS, "s", 0.15)
    if analysis.correctness.seeds:
        compared["this study"] = (analysis.estimator, OURS, "o", -0.15)
    effects = {name: contrasts.all_choices(one) for name, (one, *_) in compared.items()}
    labels = list(dict.fromkeys(choice for choices in effects.values() for choice in choices))
    figure = canvas(7.2, 1 + 0.42 * len(labels))
    axes = figure.subplots()
    for name, (_, colour, marker, offset) in compared.items():
        for choice, estimate in effects[name].items():
            height = offset - labels.index(choice)
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=2)
            axes.plot(estimate.effect, height, marker, color=colour, label=name)
    margin = analysis.margin
    axes.axvspan(-margin, margin, color=BAND, zorder=0, label="too small to matter")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel(f"change of {analysis.evidence.metric}, points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"data": name, "choice": choice, **asdict(estimate)}
        for name, choices in effects.items()
        for choice, estimate in choices.items()
    )
    title, key = _forest_title(effects.get("this study"), analysis.evidence.metric)
    return html.figure(
        figure,
        "effects",
        key=key,
        finding=title,
        caption=(
            "Mean change over configurations that agree in the other choices, with 95 % intervals "
            "for all choices at once. The source's intervals say whether an effect is consistent "
            "over its configurations, and nothing about other trainings."
        ),
        alt=sentences(data, "{data}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
    )


def _forest_title(effects: dict[str, Estimate] | None, metric: str) -> tuple[str, str]:
    """What this study's choices change, and its stable name."""
    if effects is None:
        return "No seed has a run of every configuration yet.", "effects:none"
    if not effects:
        return "This study has nothing that it compares with freezing nothing.", "effects:nothing"
    if not any(effect.known for effect in effects.values()):
        return "One seed cannot say what each choice changes.", "effects:no-intervals"
    clear = [name for name, e in effects.items() if e.low > 0 or e.high < 0]
    if not clear:
        return f"None of {len(effects)} choices changes {metric} clearly.", "effects:0"
    verb = "changes" if len(clear) == 1 else "change"
    return (
        f"{len(clear)} of {len(effects)} choices {verb} {metric} clearly: {'; '.join(clear)}.",
        f"effects:{len(clear)}",
    )


@needs_runs
def resolving(analysis: Analysis) -> HTML:
    """Smallest difference that a study of so many seeds, or of so many images, can resolve."""
    evidence = analysis.evidence
    parts, found = analysis.components, analysis.correctness
    if not parts:
        return paragraph(["Two complete seeds are needed to say how small a change could be seen."])
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
            f"With {seeds} seeds and {images:,} test images this study can tell {best} apart from "
            f"{number(now[best])} points on, and {worst} from {number(now[worst])}."
        ),
        caption=(
            "Smallest true difference whose 95 % interval excludes zero in four of five studies; "
            "dotted lines are the limit for any number of seeds. "
            + (
                f"On the left, {every:,} images are divided into as many folds as seeds."
                if found.folds
                else "Dashed lines are for seeds that each test another share of the images."
            )
        ),
        alt=sentences(
            data[data["seeds"].isin([2, seeds, MOST_SEEDS])].iloc[::4],
            "{comparison}, {seeds} seeds, {images} images ({design}): {smallest:.2f} points",
        ),
        data=data,
    )


def stopping(analysis: Analysis) -> HTML:
    """Whether fewer seeds would have decided the depth."""
    seen = enough.looks(analysis)
    if not seen:
        return paragraph([])
    early = next((one for one in seen if one.freeze is not None), seen[-1])
    return paragraph(
        [
            early.sentence,
            "It was looked at after every seed; the intervals hold for all depths and all looks.",
            Markup("<code>effnet sweep {} --until-decided</code> stops there.").format(
                analysis.evidence.design.name
            ),
        ]
    )


def _colours(names: list[str]) -> dict[str, str]:
    return dict(zip(names, [OURS, COLOUR["cosine"], "#009E73", "#CC79A7"], strict=False))


def simulation(analysis: Analysis) -> HTML:
    """How often the intervals cover the truth in simulated studies, for what this one compares."""
    found = measurements.coverage()
    if found is None:
        return paragraph(["The simulation has not been run yet:", Markup(SIMULATE)])
    data = pd.DataFrame(
        {
            "studies": case.kind,
            "size": f"{case.seeds} {'folds' if case.folds else 'seeds'}",
            "claim": claim,
            "covered": covered,
        }
        for case in found.cases
        for claim, covered in case.covered.items()
    )
    ranges = data.groupby(["claim", "studies"], sort=False)["covered"].agg(["min", "max"])
    cells = ranges.apply(
        lambda row: f"{number(row['min'])} to {number(row['max'])}", axis="columns"
    ).unstack()
    null = data[(data["studies"] == "no effects") & (data["claim"] == "all choices")]["covered"]
    low, high = WANTED
    inside = data["covered"].between(low, high).mean()
    kinds = [kind for kind in data["studies"].unique() if _is_compared(kind, analysis)]
    compared = [claim for claim in cells.index if _is_compared(claim, analysis)]
    return table(
        cells.loc[compared, kinds].fillna(DASH).reset_index(),
        "simulation",
        finding=(
            f"95 % intervals cover the truth in {number(data['covered'].min())} to "
            f"{number(data['covered'].max())} % of simulated studies, and in {number(low, 0)} to "
            f"{number(high, 0)} % in {number(100 * inside, 0)} % of the cases; without any effect, "
            f"at most {number(100 - null.min())} % of the studies show a clear choice."
        ),
        caption=Markup(
            "Lowest and highest share of {} simulated studies, in per cent, over {}; the model of "
            "per-image correctness is fitted to {}. Chance alone moves a share of 95 % by up to {} "
            "points; {} simulates it again."
        ).format(
            f"{found.replicates:,}",
            ", ".join(data["size"].unique()),
            found.study,
            number(196 * math.sqrt(0.95 * 0.05 / found.replicates)),
            Markup(SIMULATE),
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
        finding=f"{left} of {len(judged)} results remain significant after Holm's correction.",
        key=f"holm:{left}",
        caption=(
            "p is the probability of a result at least as far from no effect if there were none; "
            "for the depth, from a loss of the size that matters. "
            f"{claims.by_chance(judged)}"
        ),
    )
