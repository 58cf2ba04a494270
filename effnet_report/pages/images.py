"""The page The images: what the models say about single images of the test set."""

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.data.images import decode
from effnet_core.study.design import (
    describe,
)
from effnet_report.evidence.evidence import Evidence
from effnet_report.evidence.pictures import pictures
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.numbers import number
from effnet_report.pages.gaps import coverage, needs_runs, no_images, nothing_yet
from effnet_report.render import confusion as matrix
from effnet_report.render import html
from effnet_report.render.drawing import (
    INK,
    OURS,
    THEIRS,
    canvas,
    legend,
    plain,
    sentences,
)
from effnet_report.render.html import finding

BINS = 6
SHOWN, COLUMNS, SIDE = 12, 4, 96  # pictures, and pixels of a side


def answer(analysis: Analysis) -> HTML:
    """How many test images no run, and how many every run, gets right."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    right = evidence.correct(evidence.finished)
    always, never = int((right == 1).sum()), int((right == 0).sum())
    return finding(
        f"Of {len(right):,} test images, every run that tested them classifies {always:,} "
        f"correctly, and none {never:,}; on the other {len(right) - always - never:,} they "
        "differ.",
        *coverage(evidence),
    )


@needs_runs
def confusion(analysis: Analysis) -> HTML:
    """True and predicted classes of the best configuration, over its seeds."""
    evidence = analysis.evidence
    table, classes = _best_predictions(evidence), evidence.best[0].facts.classes
    counts = matrix.tally(table["label"].to_numpy(), table["predicted"].to_numpy(), classes)
    recall = pd.Series(np.diag(matrix.shares(counts)), index=classes)
    return html.figure(
        matrix.draw(counts),
        "confusion",
        finding=(
            f"Recognised most often: {recall.idxmax()} ({number(recall.max())} % of them); least "
            f"often: {recall.idxmin()} ({number(recall.min())} %)."
        ),
        caption=f"Test images: {_best_words(evidence)}; "
        + (
            "shares are of the true class."
            if matrix.readable(counts)
            else "the most frequent confusions."
        ),
        alt=matrix.in_words(counts),
        data=counts.rename_axis("true class").reset_index(),
    )


@needs_runs
def calibration(analysis: Analysis) -> HTML:
    """How often the best configuration is right when it says how sure it is."""
    evidence = analysis.evidence
    table = _best_predictions(evidence)
    table["right"] = table["label"] == table["predicted"]
    groups = table.groupby(pd.qcut(table["confidence"].rank(method="first"), BINS), observed=True)
    data = groups.agg(
        confidence=("confidence", "mean"), accuracy=("right", "mean"), images=("right", "size")
    ).reset_index(drop=True)
    data[["confidence", "accuracy"]] *= 100
    bounds = map(accuracy_interval, data["accuracy"], data["images"])
    data[["low", "high"]] = pd.DataFrame(bounds, index=data.index)
    figure = canvas(7.2, 4)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=THEIRS, linestyle=":", label="as sure as right")
    axes.vlines(data["confidence"], data["low"], data["high"], color=OURS)
    axes.plot(data["confidence"], data["accuracy"], "o-", color=OURS, label="this study")
    lowest = min(data["confidence"].min(), data["low"].min()) - 3
    axes.set(xlim=(lowest, 101), ylim=(lowest, 101))
    axes.set(xlabel="mean confidence, %", ylabel="accuracy, %")
    legend(figure, axes)
    gap = 100 * float(table["confidence"].mean() - table["right"].mean())
    return html.figure(
        figure,
        "calibration",
        finding=(
            f"The best configuration's mean confidence is {number(abs(gap))} points "
            f"{'above' if gap > 0 else 'below'} its accuracy."
        ),
        caption=(
            f"Test images in groups of equal size by confidence, with 95 % intervals (Wilson): "
            f"{_best_words(evidence)}."
        ),
        alt=sentences(
            data, "{confidence:.0f} % sure, {accuracy:.0f} % right ({low:.0f} to {high:.0f})"
        ),
        data=data,
    )


@needs_runs
def temperature(analysis: Analysis) -> HTML:
    """What dividing the logits by one number does to how sure the kept model is."""
    evidence = analysis.evidence
    name, found = evidence.design.name, evidence.calibrated
    if found is None:
        return html.paragraph(
            [
                "The best run's model has not been calibrated yet.",
                Markup("<code>effnet predict {} PHOTOS</code> does it the first time.").format(
                    name
                ),
            ]
        )
    (raw, after), (loss, lower) = found.error, found.loss
    return html.paragraph(
        [
            "The best run's model, as effnet predict uses it, divides its logits by "
            f"{number(found.temperature, 2)}, the temperature that fits its validation images best "
            "(Guo et al., ICML 2017; labels smoothed after Platt, 1999).",
            f"On its {found.test_images:,} test images that takes the expected calibration error "
            f"from {number(raw)} to {number(after)} points, and the mean log loss from "
            f"{number(loss, 3)} to {number(lower, 3)}.",
            f"Of the same images it calls {number(100 * found.false_alarms)} % unlike the training "
            "images, falsely.",
        ]
    )


@needs_runs
def hardest(analysis: Analysis) -> HTML:
    """The test images that most runs get wrong."""
    evidence = analysis.evidence
    dataset = pictures(evidence)
    if dataset is None:
        return no_images(evidence)
    names = pd.Index(dataset.names)
    right = evidence.correct(evidence.finished)
    wrong = (1 - right[right.index.isin(names)]).sort_values(ascending=False, kind="stable")
    worst = wrong[wrong > 0].head(SHOWN)
    labels = dataset.labels[names.get_indexer(wrong.index)]
    data = pd.DataFrame(
        {
            "image": wrong.index,
            "class": [dataset.classes[label] for label in labels],
            "wrong_percent": 100 * wrong.to_numpy(),
            "taken_for": _taken_for(evidence).reindex(wrong.index, fill_value="").to_numpy(),
        }
    )
    rows = -(-max(len(worst), 1) // COLUMNS)
    figure = canvas(7.2, 2.4 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    files = dict(zip(dataset.names, dataset.images, strict=True))
    look = evidence.design.protocol
    for axes, row in zip(panels.flat, data.head(len(worst)).to_dict("records"), strict=False):
        axes.imshow(decode(files[row["image"]], SIDE, look.resize, look.background))
        share = f"wrong in {row['wrong_percent']:.0f} %"
        axes.set_title(
            f"{plain(row['class'], 18)}\n→ {plain(row['taken_for'], 16)}\n{share}", fontsize=9
        )
    always = int((wrong == 1).sum())
    return html.figure(
        figure,
        "hardest-images",
        finding=f"{always:,} of {len(wrong):,} test images are wrong in every run that saw them.",
        caption="The test images that most runs get wrong, each with its true class and, after the "
        "arrow, with what it is most often taken for.",
        alt=sentences(
            data.head(len(worst)),
            "{image}, {class}: wrong in {wrong_percent:.0f} % of runs, taken for {taken_for}",
        ),
        data=data,
    )


@needs_runs
def by_group(analysis: Analysis) -> HTML:
    """Accuracy in each known subgroup of the images, such as the cell type."""
    evidence = analysis.evidence
    dataset = pictures(evidence)
    if dataset is None:
        return no_images(evidence)
    if not dataset.subgroups:
        return html.paragraph([f"Of {evidence.design.title} no kinds of images are known."])
    groups = dict(zip(dataset.names, dataset.subgroups, strict=True))
    rows = []
    for record in evidence.finished:
        right = evidence.correct([record])
        shares = right.groupby(right.index.map(groups)).agg(["mean", "size"])
        rows += [
            {"run_id": record.run_id, "group": group, "images": size, "accuracy": 100 * mean}
            for group, mean, size in shares.itertuples()
        ]
    data = pd.DataFrame(rows)
    # With folds, no run has tested them all.
    tested = evidence.correct(evidence.finished).index.map(groups).value_counts()
    means = data.groupby("group").agg(accuracy=("accuracy", "mean"))
    means = means.assign(images=tested).sort_values("accuracy").reset_index()
    figure = canvas(7.2, 1 + 0.7 * len(means))
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for place, group in enumerate(means["group"]):
        shown = data.loc[data["group"] == group, "accuracy"]
        heights = place + rng.uniform(-0.15, 0.15, len(shown))
        axes.plot(shown, heights, "o", color=OURS, alpha=0.4, markersize=4)
    axes.plot(means["accuracy"], means.index, "|", color=INK, markersize=22, markeredgewidth=2)
    words = means["group"].map(plain) + "\n" + means["images"].astype(str) + " images"
    axes.set_yticks(means.index, words)
    axes.set_ylim(-0.5, len(means) - 0.5)
    axes.set_xlabel("test accuracy, %")
    low, high = means.iloc[0], means.iloc[-1]
    return html.figure(
        figure,
        "groups",
        finding=(
            f"Mean accuracy is {number(high.accuracy)} % on {high.group} and "
            f"{number(low.accuracy)} % on {low.group}."
        ),
        caption="Each point is one run's accuracy on one kind of test images; the stroke is their "
        "mean.",
        alt=sentences(means, "{group}: mean {accuracy:.1f} % on {images} images"),
        data=data,
    )


def _best_predictions(evidence: Evidence) -> pd.DataFrame:
    return pd.concat([evidence.predictions(record) for record in evidence.best])


def _best_words(evidence: Evidence) -> str:
    s, seeds = evidence.best_settings, len(evidence.best)
    words = f"the configuration with the best validation, {describe(s.freeze, s.head, s.scheduler)}"
    if seeds == 1:
        return f"{words}, one seed"
    images = _best_predictions(evidence).index
    which = "each image by one of them" if images.is_unique else "the same images by each"
    return f"{words}, {seeds} seeds, {which}, {images.nunique():,} images in all"


def _taken_for(evidence: Evidence) -> pd.Series:
    """The class that a test image is most often taken for, where it is wrong, by image."""
    classes = evidence.best[0].facts.classes
    tables = [evidence.predictions(record) for record in evidence.finished]
    wrong = pd.concat([table[table["label"] != table["predicted"]] for table in tables])
    votes = wrong.groupby(["image", "predicted"]).size().sort_values(kind="stable").reset_index()
    last = votes.drop_duplicates("image", keep="last").set_index("image")["predicted"]
    return last.map(lambda label: classes[label])
