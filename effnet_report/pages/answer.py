"""The page The answer: what freezing saves and what it risks, and what follows from it."""

from dataclasses import asdict

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.data.datasets import PACKAGED
from effnet_report.evidence import source
from effnet_report.inference import claims, contrasts
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.contrasts import Compared, OneTable
from effnet_report.inference.seeds_and_images import Estimate
from effnet_report.inference.wording import size
from effnet_report.numbers import DASH, number
from effnet_report.pages.gaps import coverage, needs_runs, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    INK,
    OURS,
    THEIRS,
    canvas,
    legend,
    sentences,
)
from effnet_report.render.html import definition_list, finding, listing, paragraph

QUESTIONS = {
    "depth": "How many stages should I freeze?",
    "head": "Does a deeper head help?",
    "scheduler": "Which learning-rate schedule is better?",
    "classical": "Is fine-tuning better than classical machine learning?",
}
SHOWN_CLASSES = 10
NO_INTERVALS = "Differences of one study, without intervals: whether they are chance is not known."


def answer(analysis: Analysis) -> HTML:
    """The recommendation, after a warning where the study is too small for it."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    said = analysis.recommendation.sentences
    classical = analysis.over_classical
    if classical.effect < 0:
        sure = f"by {size(classical)}" if classical.high < 0 else (
            f"by {number(-classical.effect)} points here, which is inconclusive"
        )  # fmt: skip
        said.append(f"Classical machine learning is ahead of fine-tuning, {sure}.")
    return finding(*said, *coverage(evidence))


@needs_runs
def subject(analysis: Analysis) -> HTML:
    """Study, data, network, images and classes that the answer is about."""
    evidence = analysis.evidence
    design, facts, found = evidence.design, evidence.finished[0].facts, analysis.correctness
    shown = facts.classes[:SHOWN_CLASSES]
    more = len(facts.classes) - len(shown)
    names = ", ".join(shown) + (f" and {more} more" if more else "")
    tested = found.images or facts.test_images
    each = f" ({facts.test_images} a seed)" if found.folds else ""
    called = "" if design.title == design.name else f": {design.title}"
    seeds = "seed" if len(design.seeds) == 1 else "seeds"
    data = f"Data set {design.protocol.dataset}: " if design.protocol.dataset in PACKAGED else ""
    return paragraph(
        [
            f"Study {design.name}{called}.",
            f"Network {design.protocol.backbone} at {design.protocol.image_size} pixels, "
            f"{len(design.configurations())} configurations, {len(found.seeds)} of "
            f"{len(design.seeds)} {seeds} complete.",
            f"{data}{facts.train_images:,} images to train on, "
            f"{facts.validation_images:,} to choose with, {tested:,} to test on{each}.",
            f"{len(facts.classes)} classes: {names}.",
        ]
    )


@needs_runs
def trade_off(analysis: Analysis) -> HTML:
    """Change of accuracy against training time saved, one point a depth."""
    data = analysis.recommendation.table
    if data.empty:
        return paragraph(["No freeze can be compared with none yet."])
    figure = canvas(6, 4)
    axes = figure.subplots()
    margin = analysis.margin
    axes.axhspan(-margin, margin, color="#eeeeee", zorder=0)
    axes.axhline(0, color=INK, linewidth=1)
    known = data.dropna(subset=["change_low"])
    axes.vlines(known["time"], known["change_low"], known["change_high"], color=OURS, linewidth=2)
    axes.plot(data["time"], data["change"], "o", color=OURS)
    for row in data.itertuples():
        axes.annotate(
            str(row.freeze), (row.time, row.change), xytext=(6, 4), textcoords="offset points",
            weight="bold",
        )  # fmt: skip
    axes.set_xlabel("CPU time of a training saved, %")
    axes.set_ylabel("change of accuracy, points")
    return html.figure(
        figure,
        "trade-off",
        finding=(
            f"{(data['change_low'] > -margin).sum()} of {len(data)} depths are shown to lose less "
            f"than {number(margin)} points of accuracy."
            if len(known)
            else NO_INTERVALS
        ),
        caption=(
            "One point per number of frozen stages, compared with none. "
            + (
                "Lines: 95 % intervals that hold for all depths at once, for other trainings and "
                "other images of this kind. "
                if len(known)
                else ""
            )
            + f"Grey: less than {number(margin)} points. {analysis.recommendation.rule}"
        ),
        alt=sentences(data, "freeze {freeze}: {change:+.1f} points, {time:.0f} % time saved"),
        data=data,
    )


@needs_runs
def risks(analysis: Analysis) -> HTML:
    """The table beside it, with memory."""
    depths = analysis.depths
    if not depths:  # the drawing above has said why
        return paragraph([])
    frame = pd.DataFrame(
        {
            "freeze": depth.freeze,
            "accuracy, points": _span(depth.change, 1),
            "time saved, %": _span(depth.time, 0),
            "memory saved, %": _span(depth.memory, 0),
        }
        for depth in depths
    )
    clear = sum(depth.change.low > 0 or depth.change.high < 0 for depth in depths)
    return html.table(
        frame,
        "saves-and-risks",
        finding=f"At {clear} of {len(depths)} depths the interval of the change excludes zero."
        if any(depth.change.known for depth in depths)
        else NO_INTERVALS,
        caption=(
            "Best estimate and 95 % interval. Accuracy: for all depths at once, other trainings "
            "and other images of this kind. CPU time and peak memory: for each depth by itself, "
            "and other trainings on such a machine."
        ),
        data=analysis.recommendation.table,
    )


def _span(estimate: Estimate, decimals: int) -> str:
    effect = number(estimate.effect, decimals, sign=True)
    if not estimate.known:
        return f"{effect} ({DASH})"
    low, high = (number(bound, decimals, sign=True) for bound in (estimate.low, estimate.high))
    return f"{effect} ({low} to {high})"


def answers(analysis: Analysis) -> HTML:
    """The questions of someone who is about to fine-tune, answered by the verdicts."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    judged = analysis.judgement
    said = {key: judged[key].sentence for key in QUESTIONS}
    said["depth"] = f"{said['depth']} {judged['freeze'].sentence}"
    return definition_list(
        (question, f"{said[key]} {_covers(judged[key])}") for key, question in QUESTIONS.items()
    )


def _covers(judgement: claims.Judgement) -> str:
    if not judgement.estimate.known:
        return "There is no interval."
    return f"The interval is for {judgement.claim.covers}."


def commands(analysis: Analysis) -> HTML:
    """How to repeat this study."""
    evidence = analysis.evidence
    name, depths = evidence.design.name, evidence.design.factors["freeze"]
    one_run = f"papermill notebooks/train.ipynb -p study {name} -p freeze "
    one_run += str(2 if 2 in depths else depths[-1])
    return listing(
        Markup("<code>{}</code> {}").format(command, what)
        for command, what in (
            (f"effnet sweep {name}", "trains the runs of this study that you have no records of."),
            (f"EFFNET_STUDY={name} jupyter-book build book", "builds this book from your records."),
            (one_run, "trains one run."),
        )
    )


def forest(analysis: Analysis) -> HTML:
    """Forest plot: what each choice changes, all choices looked at at once."""
    compared: dict[str, tuple[Compared, str, str, float]] = {
        "source": (OneTable(source.results()), THEIRS, "s", 0.15)
    }
    if analysis.correctness.seeds:
        compared["this study"] = (analysis.estimator, OURS, "o", -0.15)
    found = {name: contrasts.all_choices(one) for name, (one, *_) in compared.items()}
    labels = list(dict.fromkeys(choice for choices in found.values() for choice in choices))
    figure = canvas(7.2, 4.2)
    axes = figure.subplots()
    for name, (_, colour, marker, offset) in compared.items():
        for choice, estimate in found[name].items():
            height = offset - labels.index(choice)
            axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=2)
            axes.plot(estimate.effect, height, marker, color=colour, label=name)
    margin = analysis.margin
    axes.axvspan(-margin, margin, color="#eeeeee", zorder=0, label="too small to matter")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_xlabel("change of accuracy, percentage points")
    legend(figure, axes)
    data = pd.DataFrame(
        {"data": name, "choice": choice, **asdict(estimate)}
        for name, choices in found.items()
        for choice, estimate in choices.items()
    )
    ours = found.get("this study", {})
    clear = [name for name, e in ours.items() if e.low > 0 or e.high < 0]
    finding = "No seed has a run of every configuration yet."
    if "this study" in found:
        finding = "This study compares nothing with freeze 0, and no heads or schedules."
    if ours and not any(e.known for e in ours.values()):
        finding = "This study has no intervals: one seed cannot say what each choice changes."
    elif ours:
        changes = "change" if len(clear) > 1 else "changes"
        finding = f"{len(clear) or 'None'} of {len(ours)} choices {changes} accuracy clearly"
        finding += f": {'; '.join(clear)}." if clear else " in this study."
    return html.figure(
        figure,
        "effects",
        finding=finding,
        caption=(
            "Mean change over configurations that agree in the other two factors. This study: 95 % "
            "intervals for all choices at once, for other trainings and other images; without any "
            "effect, one study in twenty would show a clear choice. Source: consistency over its "
            "configurations, which says nothing about other trainings."
        ),
        alt=sentences(data, "{data}, {choice}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"),
        data=data,
    )
