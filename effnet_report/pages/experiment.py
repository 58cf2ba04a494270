"""The page The experiment: the images, the network, and what the study fixes and varies."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from effnet_core.data.images import decode
from effnet_core.study.design import (
    FREEZE,
    HEAD_WORDS,
    HEADS,
    SCHEDULERS,
    Protocol,
)
from effnet_core.study.studies import load_study
from effnet_report.evidence.pictures import pictures
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages.gaps import coverage, needs_runs, no_images, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import (
    COLOUR,
    OURS,
    canvas,
    plain,
    sentences,
)
from effnet_report.render.html import finding, table

COLUMNS = 4  # images of a class

MOST_SEEN = 10  # classes of which images are shown


def answer(analysis: Analysis) -> HTML:
    """How much is to be trained, on what."""
    evidence = analysis.evidence
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


def _held(factors: dict[str, list[Any]]) -> Iterator[str]:
    """The choices of which this study tries one alone, or not all."""
    words: dict[str, tuple[list[str], int]] = {
        "freeze": ([str(depth) for depth in factors["freeze"]], len(FREEZE)),
        "head": ([HEAD_WORDS[head] for head in factors["head"]], len(HEADS)),
        "scheduler": ([str(name) for name in factors["scheduler"]], len(SCHEDULERS)),
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


@needs_runs
def seen(analysis: Analysis) -> HTML:
    """A few images of each class, squares as the network gets them."""
    evidence = analysis.evidence
    dataset, look = pictures(evidence), evidence.design.protocol
    if dataset is None:
        return no_images(evidence)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    classes = np.argsort(-counts, kind="stable")[:MOST_SEEN]
    figure = canvas(7.2, 1.25 * len(classes))
    panels = figure.subplots(len(classes), COLUMNS, squeeze=False)
    for row, label in zip(panels, classes, strict=True):
        members = np.flatnonzero(dataset.labels == label)
        spread = members[np.linspace(0, len(members) - 1, COLUMNS).astype(int)]
        for axes, index in zip(row, spread, strict=True):
            view = decode(dataset.images[index], look.image_size, look.resize, look.background)
            axes.imshow(view)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)  # or what is filled up would not show
        row[0].set_ylabel(plain(dataset.classes[label]), rotation=0, ha="right", va="center")
    how = {
        "squash": "squashed where it is not square",
        "pad": f"its short side filled up in {look.background}",
        "crop": "both ends of its long side cut off",
    }[look.resize]
    data = pd.DataFrame({"class": dataset.classes, "images": counts})
    data = data.iloc[np.argsort(-counts, kind="stable")]
    left_out = len(dataset.classes) - len(classes)
    return html.figure(
        figure,
        "as-the-network-sees-them",
        finding=(
            f"The network sees an image as a square of {look.image_size} x {look.image_size} "
            f"pixels, {how}."
        ),
        caption=f"{COLUMNS} images of each class, evenly spread over the data set"
        + (f"; {left_out} smaller classes are left out." if left_out else "."),
        alt=sentences(data.head(len(classes)), "{class}: {images} images"),
        data=data,
    )


def stages(analysis: Analysis) -> HTML:
    """The backbone from image to features: parameters, compute, and where each freeze cuts."""
    evidence = analysis.evidence
    if evidence.facts is None:
        return nothing_yet(evidence)
    data = pd.DataFrame([stage.model_dump() for stage in evidence.facts.stages])
    data["parameter_share"] = 100 * data["parameters"] / data["parameters"].sum()
    data["compute_share"] = 100 * data["flop_share"]
    cuts = {n: n + 0.5 for n in FREEZE[1:]}  # the stem is at 0, stage n at n
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
            axes.axhline(cut, color=COLOUR["cosine"], linestyle=":", linewidth=1)
    left.bar_label(left.containers[0], [f" {n:,}" for n in data["parameters"]])
    right.bar_label(right.containers[0], [f" {share:.1f} %" for share in data["compute_share"]])
    for n, cut in cuts.items():
        right.text(
            *(right.get_xlim()[1], cut), f"freeze {n} ", ha="right", va="center",
            color="#A04600", fontsize=9, backgroundcolor="white",
        )  # fmt: skip
    left.set_yticks(data.index, data["name"])
    left.invert_yaxis()
    frozen = data.loc[: FREEZE[-1], ["parameter_share", "compute_share"]].sum()
    return html.figure(
        figure,
        "stages",
        finding=(
            f"The deepest freeze fixes {number(frozen.compute_share, 0)} % of the computation and "
            f"{number(frozen.parameter_share, 0)} % of the backbone's parameters."
        ),
        caption=(
            "The image enters at the top. A dotted line is where a freeze cuts: everything above "
            "it stays as it was, everything below it and the head are trained."
        ),
        alt=sentences(
            data, "{name}: {parameters:,} parameters, {compute_share:.1f} % of the computation"
        ),
        data=data.drop(columns="flop_share"),
    )


def protocol(analysis: Analysis) -> HTML:
    """Every fixed setting, ours beside the source's."""
    evidence = analysis.evidence
    ours, theirs = evidence.design.protocol, load_study("paper").protocol
    frame = pd.DataFrame(
        {
            "setting": name,
            "this study": str(getattr(ours, name)),
            "the source (study paper)": str(getattr(theirs, name)),
            "meaning": (field.description or "").replace("`", ""),
        }
        for name, field in Protocol.model_fields.items()
    )
    same = frame["this study"] == frame["the source (study paper)"]
    return table(
        frame.loc[same.sort_values(kind="stable").index],
        "protocol",
        finding=f"{(~same).sum()} of {len(frame)} settings differ from the source's protocol.",
        caption="Those that differ come first. The same code reads both columns from YAML.",
    )
