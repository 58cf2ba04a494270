"""The page Conclusions: every claim with its verdict, and how far the verdicts can be trusted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import SOURCE_FACTORS
from effnet_core.study.studies import load_study
from effnet_report.evidence import source
from effnet_report.inference import claims, contrasts, enough
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.claims import Judgement
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.inference.seeds_and_images import LEVEL, Estimate
from effnet_report.numbers import DASH, number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    BAND,
    INK,
    OURS,
    THEIRS,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import (
    apart,
    finding,
    link,
    paragraph,
    table,
    write_to_site,
)
from effnet_report.words import joined


def answer(analysis: Analysis) -> HTML:
    """How many of the source's conclusions these data bear."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = [judgement for judgement in analysis.claims if judgement.key in claims.SOURCES]
    counts = Counter(judgement.verdict for judgement in judged)
    left = sum(j.verdict == "supported" and j.adjusted_p <= 1 - LEVEL for j in judged)
    some = len(judged) < len(claims.SOURCES)
    can = f"this study can judge {len(judged)}: " if some else ""
    return finding(
        f"Of the source's {len(claims.SOURCES)} conclusions, {can}{_counted(counts, analysis)} on "
        "these images.",
        *_corrected(counts["supported"], left),
        *apart(shown.neighbours(analysis)),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
        key=":".join(str(counts[verdict]) for verdict in ("supported", "contradicted")),
    )


def _corrected(supported: int, left: int) -> Iterator[str]:
    """How many of the supported conclusions the correction leaves, if not all."""
    if left < supported:
        yield (
            f"After Holm's correction for all conclusions of this study, {left or 'none'} of those "
            f"supported {'is' if left == 1 else 'are'} still clear."
        )


def _counted(counts: Counter[str], analysis: Analysis) -> str:
    """Every verdict with its number, as in `2 are supported and 3 are unclear`."""
    return joined(
        f"{count} {'is' if count == 1 else 'are'} {verdict_words(verdict, analysis)}"
        for verdict in ("supported", "contradicted", "inconclusive")
        if (count := counts[verdict])
    )


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
    """The same of one judgement, with how much less or more than that is true."""
    plain, estimate = verdict_words(judgement.verdict, analysis), judgement.estimate
    if judgement.verdict == "supported" and judgement.adjusted_p > 1 - LEVEL:
        return f"{plain}, but not after Holm's correction"
    gained = estimate.low > 0 if judgement.claim.verdicts is claims.NO_GAIN else estimate.high < 0
    if judgement.verdict == "contradicted" and gained:
        return f"{plain}: the opposite"
    return plain


def verdicts(analysis: Analysis) -> HTML:
    """Each conclusion with its verdict and its effect on this study, beside the source's table."""
    if not analysis.evidence.finished:
        return nothing_yet(analysis.evidence)
    of_source = {judgement.key: judgement for judgement in claims.of_source()}
    judged = [(ours, of_source.get(ours.key)) for ours in analysis.claims]
    frame = pd.DataFrame(
        {
            "conclusion": ours.claim.statement,
            "drawn by": "source" if ours.key in claims.SOURCES else "report",
            "verdict here": Markup('<strong data-finding="{}">{}</strong>').format(
                f"{ours.key}:{ours.verdict}",
                judged_words(ours, analysis),
            ),
            "measured here": ours.sentence,
            "in the source's table": theirs.verdict if theirs else DASH,
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
            "A gain is supported when its 95 % CI begins above zero and ends at {} points or "
            "above; a claim is not observed here when its CI excludes a gain of that size. "
            "Verdicts as JSON: {}"
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
    effects = {name: contrasts.all_choices(estimator) for name, (estimator, *_) in compared.items()}
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
    axes.set_yticks([-line for line in range(len(labels))], labels)
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


def stopping(analysis: Analysis) -> HTML:
    """Whether fewer seeds would have decided the depth."""
    seen = enough.looks(analysis)
    if not seen:
        return paragraph([])
    early = next((look for look in seen if look.freeze is not None), seen[-1])
    return paragraph(
        [
            f"{'Yes' if early.freeze is not None and early.seeds < early.planned else 'No'}.",
            early.sentence,
            "The depth was tested after every seed; the intervals hold for all depths and all "
            "tests.",
            Markup(
                "<code>effnet sweep {} --until-decided</code> stops as soon as the depth is "
                "decided."
            ).format(analysis.evidence.design.name),
        ]
    )
