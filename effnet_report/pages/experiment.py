"""The page The experiment: the images, the network, and what the study fixes and varies."""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.data.images import decode
from effnet_core.study.design import Protocol, Study
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence.pictures import pictures
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, needs_runs, no_images, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    OURS,
    canvas,
    sentences,
)
from effnet_report.render.html import apart, definition_list, finding, table

CUT = "#B35900"  # readable as text in both themes
COLUMNS = 4  # images of a class
MEANING = {
    "freeze": "With n above 0, the stem and the first n stages of the network stay as they are.",
    "head": "One linear layer, or two with dropout between them.",
    "scheduler": "Plateau halves the learning rate when the validation loss stops improving; "
    "cosine lowers it along half a cosine wave.",
}
# Settings of the new last layers, the head; told where a study does something with it.
OF_HEADS = {"head", "hidden_width", "dropout", "head_first"}
MOST_SEEN = 10  # classes of which images are shown


def answer(analysis: Analysis) -> HTML:
    """How much is to be trained, on what."""
    evidence = analysis.evidence
    design, facts = evidence.design, evidence.facts
    sizes = "images that no run has seen yet"
    if facts:
        sizes = (
            f"{facts.train_images:,} training, {facts.validation_images:,} validation and "
            f"{facts.test_images:,} test images per seed in {len(facts.classes)} classes"
        )
    seeds = f"{len(design.seeds)} seed{'' if len(design.seeds) == 1 else 's'}"
    return finding(
        f"{design.title}: {len(design.configurations())} configurations with {seeds} each, on "
        f"{sizes}.",
        _tested(design.protocol),
        _compared(design.factors),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
    )


def _compared(factors: dict[str, list[Any]]) -> str:
    """What a study compares, and at which levels."""
    parts = [
        f"{words.factor(name)} ({', '.join(words.level(name, level) for level in levels)})"
        for name, levels in factors.items()
        if len(levels) > 1
    ]
    return f"It compares {words.joined(parts)}." if parts else "It tries one configuration."


def _tested(protocol: Protocol) -> str:
    """Which images are for testing."""
    if protocol.folds:
        return (
            f"Each seed tests a different one of {protocol.folds} folds; together the folds hold "
            "every image once."
        )
    if protocol.official_test:
        return "All seeds share the test set that the authors of the images set aside."
    return "All seeds share one test set."


@needs_runs
def seen(analysis: Analysis) -> HTML:
    """A few images of each class, squares as the network gets them."""
    evidence = analysis.evidence
    dataset, look = pictures(evidence), evidence.design.protocol
    if dataset is None:
        return no_images(evidence)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    classes, about = np.argsort(-counts, kind="stable")[:MOST_SEEN], shown.about(analysis)
    tiles = []
    for label in classes:
        members = np.flatnonzero(dataset.labels == label)
        for index in members[np.linspace(0, len(members) - 1, COLUMNS).astype(int)]:
            view = decode(dataset.images[index], look.image_size, look.resize, look.background)
            tiles.append((view, about.plain(dataset.classes[label])))
    how = {
        "squash": "squashed where it is not square",
        "pad": f"its short side filled up in {look.background}",
        "crop": "both ends of its long side cut off",
    }[look.resize]
    data = pd.DataFrame({"class": dataset.classes, "images": counts})
    data = data.iloc[np.argsort(-counts, kind="stable")]
    left_out = len(dataset.classes) - len(classes)
    return html.pictures(
        tiles,
        "as-the-network-sees-them",
        finding=(
            f"The network sees an image as a square of {look.image_size} x {look.image_size} "
            f"pixels, {how}."
        ),
        caption=Markup("{} images of each class, evenly spread over the data set{}. {}{}").format(
            COLUMNS,
            f"; {left_out} smaller classes are left out" if left_out else "",
            about.rule.removesuffix("."),
            Markup(".") + about.credits if about.credits else Markup("."),
        ),
        data=data,
    )


def choices(analysis: Analysis) -> HTML:
    """What the study compares, each choice with its meaning."""
    fields = Protocol.model_fields
    return definition_list(
        (
            words.factor(name),
            MEANING.get(name) or (fields[name].description or "").replace("`", "") + ".",
        )
        for name, levels in analysis.evidence.design.factors.items()
        if len(levels) > 1
    )


def stages(analysis: Analysis) -> HTML:
    """The backbone from image to features: parameters, compute, and where each freeze cuts."""
    evidence = analysis.evidence
    if evidence.facts is None:
        return nothing_yet(evidence)
    data = pd.DataFrame([stage.model_dump() for stage in evidence.facts.stages])
    data["parameter_share"] = 100 * data["parameters"] / data["parameters"].sum()
    data["compute_share"] = 100 * data["flop_share"]
    deepest = len(data) - 3  # beside the stem and the final convolution, the last stage trains
    cuts = {n: n + 0.5 for n in range(1, deepest + 1)}  # the stem is at 0, stage n at n
    figure = canvas(7.2, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, title in (
        (left, "parameter_share", "parameters, % of the backbone"),
        (right, "compute_share", "computation, % of a forward pass"),
    ):
        axes.barh(data.index, data[column], color=OURS, height=0.6)
        axes.set_xlabel(title)
        axes.set_xlim(0, 1.5 * data[column].max())
        axes.grid(axis="y", visible=False)
        for cut in cuts.values():
            axes.axhline(cut, color=CUT, linestyle=":", linewidth=1)
    left.bar_label(left.containers[0], [f"{n:,}" for n in data["parameters"]], padding=4)
    shares = [f"{share:.1f} %" for share in data["compute_share"]]
    right.bar_label(right.containers[0], shares, padding=4)
    for n, cut in cuts.items():
        right.text(
            *(right.get_xlim()[1], cut), f"freeze {n} ", ha="right", va="bottom",
            color=CUT,
        )  # fmt: skip
    left.set_yticks(data.index, data["name"])
    left.invert_yaxis()
    frozen = data.loc[:deepest, ["parameter_share", "compute_share"]].sum()
    return html.figure(
        figure,
        "stages",
        finding=(
            f"The deepest freeze covers {number(frozen.compute_share, 0)} % of the computation and "
            f"{number(frozen.parameter_share, 0)} % of the backbone's parameters."
        ),
        caption=(
            "The image enters at the top. A freeze keeps everything above its dotted line, and "
            "trains everything below it."
        ),
        alt=sentences(
            data, "{name}: {parameters:,} parameters, {compute_share:.1f} % of the computation"
        ),
        data=data.drop(columns="flop_share"),
    )


def protocol(analysis: Analysis) -> HTML:
    """Every fixed setting, ours beside the source's."""
    evidence = analysis.evidence
    source = load_study("paper")
    frame = pd.DataFrame(
        {
            "setting": name,
            "this study": _values(name, evidence.design),
            "the source": _values(name, source),
            "meaning": (field.description or "").replace("`", ""),
        }
        for name, field in Protocol.model_fields.items()
        if name not in _unused(evidence.design)
    )
    same = frame["this study"] == frame["the source"]
    return table(
        frame[~same],
        "protocol",
        key=f"differs:{(~same).sum()}",
        finding=f"{(~same).sum()} of {len(frame)} settings differ from the source's protocol.",
        caption="The CSV has all settings. The same code reads both columns from YAML.",
        data=frame.loc[same.sort_values(kind="stable").index],
    )


def _unused(study: Study) -> set[str]:
    """Settings that only act with a head or a schedule that the study does not have."""
    heads = set() if _has_heads(study) else OF_HEADS
    plateau = "plateau" in _levels("scheduler", study)
    return heads | (set() if plateau else {"plateau_patience", "plateau_factor"})


def _levels(name: str, study: Study) -> list[Any]:
    """The value of a setting in a study, or the levels that it compares."""
    return study.factors.get(name, [getattr(study.protocol, name)])


def _has_heads(study: Study) -> bool:
    """Whether a study has another head than one linear layer, or trains it first."""
    return _levels("head", study) != ["none"] or _levels("head_first", study) != [0]


def definitions(analysis: Analysis) -> HTML:
    """What the source leaves open and this study decides."""
    design = analysis.evidence.design
    head = "the head" if _has_heads(design) else "the new last layer"
    deeper = "Dropout, a linear layer, an activation, dropout, a linear layer."
    return definition_list(
        (
            (
                "Optimizer",
                "Adam with PyTorch's defaults, without weight decay; the learning rate is that of "
                "the protocol above.",
            ),
            (
                "Stage",
                Markup(
                    "One entry of <code>blocks</code> in timm's model, which the source calls a "
                    "block of layers. The last stage, the final convolution and {} always train."
                ).format(head),
            ),
            (
                "Frozen",
                "No gradient, not in the optimizer, batch-norm statistics unchanged, stochastic "
                "depth off.",
            ),
            *([("Deeper head", deeper)] if "mlp" in _levels("head", design) else []),
            ("Monitored quantity", _monitored(design, analysis.evidence.metric)),
            (
                "Test set",
                "The source reports the best of each training cycle on the validation set. Here "
                "validation images choose rates, epochs and the best model, and separate test "
                "images measure the result; they choose the recommended depth alone.",
            ),
            (
                "Seed",
                "Fixes the split into training and validation images (with folds, the test images "
                f"as well), the initial weights of {head}, and the order of the images.",
            ),
        )
    )


def _monitored(design: Study, metric: str) -> str:
    """Which measures on validation images decide while a run trains."""
    watching = []
    if _levels("early_stop_patience", design) != [None]:
        watching.append("early stopping")
    if "best" in _levels("select", design):
        watching.append("the choice of the best epoch")
    watched = [f"validation {metric} decides {' and '.join(watching)}"] if watching else []
    if "plateau" in _levels("scheduler", design):
        watched.append("validation loss lowers the rate of the plateau schedule")
        if "early stopping" in watching:
            watched[-1] += (
                ". If early stopping also watched the loss, it would end a run before the schedule "
                "could act"
            )
    text = "; ".join(watched) or "nothing: every run trains all epochs and keeps the last one"
    return f"{text[:1].upper()}{text[1:]}."


def _values(name: str, study: Study) -> str:
    return ", ".join(_plain(name, level) for level in _levels(name, study))


def _plain(name: str, level: Any) -> str:
    if isinstance(level, bool):
        return "yes" if level else "no"
    return words.level(name, level)
