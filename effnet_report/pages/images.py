"""The page The images: what the models say about single images of the test set."""

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.data.datasets import Dataset
from effnet_core.data.images import decode
from effnet_report.audit.judgements import judgements
from effnet_report.evidence.calibrated import Example
from effnet_report.evidence.evidence import Evidence
from effnet_report.evidence.growth import load as growth_of
from effnet_report.evidence.pictures import pictures
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.measurements.planted import planted_in
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, needs_runs, no_images, nothing_yet
from effnet_report.render import confusion as matrix
from effnet_report.render import html
from effnet_report.render.citations import cite
from effnet_report.render.drawing import (
    INK,
    OURS,
    THEIRS,
    canvas,
    legend,
    plain,
    sentences,
)
from effnet_report.render.heat import overlay
from effnet_report.render.html import apart, finding
from effnet_report.words import configuration

BINS = 6
SHOWN, SIDE = 12, 104  # pictures, and pixels of a side
DOUBTED = 10  # per cent, of a label


def answer(analysis: Analysis) -> HTML:
    """How many test images no run, and how many every run, gets right."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    right = evidence.correct(evidence.finished)
    always, never = int((right == 1).sum()), int((right == 0).sum())
    return finding(
        f"Of {len(right):,} test images, all runs that tested them are right on {always:,} and all "
        f"are wrong on {never:,}; they differ on {len(right) - always - never:,}.",
        *apart(shown.best_on_validation(analysis)),
        *apart(shown.other_recipes(analysis)),
        *apart(coverage(evidence)),
    )


@needs_runs
def confusion(analysis: Analysis) -> HTML:
    """True and predicted classes of the best configuration, over its seeds."""
    evidence = analysis.evidence
    table, classes = _best_predictions(evidence), evidence.best[0].facts.classes
    counts = matrix.tally(table["label"].to_numpy(), table["predicted"].to_numpy(), classes)
    plain_names = [shown.about(analysis).plain(name) for name in classes]
    recall = pd.Series(np.diag(matrix.shares(counts)), index=plain_names)
    return html.figure(
        matrix.draw(counts),
        "confusion",
        finding=(
            f"The best configuration recognises {number(recall.max(), 0)} % of the class "
            f"{recall.idxmax()}, and {number(recall.min(), 0)} % of the class {recall.idxmin()}."
        ),
        caption=("Shares of each true class" if matrix.readable(counts) else "Frequent confusions")
        + f" on test images, for {_best_words(evidence)}.",
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
    axes.plot([0, 100], [0, 100], color=THEIRS, linestyle=":", label="confidence equals accuracy")
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
            "Each point is a group of equally many test images of similar confidence, with a 95 % "
            f"interval, for {_best_words(evidence)}."
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
    name, known = evidence.design.name, evidence.calibrated
    if known is None:
        command = Markup("<code>effnet predict {} PHOTOS</code>.").format(name)
        return html.paragraph(
            ["Probabilities are calibrated when the model is first used:", command]
        )
    (raw, after), (loss, lower) = known.error, known.loss
    return html.paragraph(
        [
            "The probabilities that the kept model tells are corrected for this.",
            known.trust,
            f"The model divides its logits by a temperature of {number(known.temperature, 2)}, "
            "fitted on its validation images",
            Markup("({}).").format(cite("guo2017")),
            f"On its {known.test_images:,} test images this changes the expected calibration "
            f"error from {number(raw)} to {number(after)} points and the mean log loss from "
            f"{number(loss, 3)} to {number(lower, 3)}.",
            f"The model wrongly marks {number(100 * known.false_alarms)} % of these images as "
            f"unlike the training images, and rightly marks {number(100 * known.detected)} % of "
            f"{known.other_images:,} images of another data set ({known.other}).",
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
    about = shown.about(analysis)
    captions = {
        row["image"]: f"{about.plain(row['class'])}: wrong in {row['wrong_percent']:.0f} % of its "
        f"runs, mostly taken for {about.plain(row['taken_for'])}"
        for row in data.head(len(worst)).to_dict("records")
    }
    always = int((wrong == 1).sum())
    return html.pictures(
        _tiles(evidence, dataset, captions),
        "hardest-images",
        key=f"always-wrong:{always}",
        finding=f"All runs got {always:,} of {len(wrong):,} test images wrong.",
        caption=Markup(
            "The test images that most runs got wrong, each with its class and what it is most "
            "often taken for.{}"
        ).format(about.credits),
        data=data,
    )


@needs_runs
def maps(analysis: Analysis) -> HTML:
    """Where the model of the best run looks, on its hardest and its most typical test images."""
    evidence = analysis.evidence
    dataset, known = pictures(evidence), evidence.calibrated
    if dataset is None:
        return no_images(evidence)
    if known is None:
        command = Markup("<code>effnet predict {} PHOTOS</code>.").format(evidence.design.name)
        return html.paragraph(["The maps are drawn when the model is first used:", command])
    about, examples = shown.about(analysis), [*known.hardest, *known.typical]
    captions = {
        example.image: about.plain(example.label)
        if example.label == example.predicted
        else f"{about.plain(example.label)}, taken for {about.plain(example.predicted)}"
        for example in examples
    }
    tiles = _tiles(evidence, dataset, captions)
    hard, typical = (_half_of_the_evidence(part) for part in (known.hardest, known.typical))
    return html.pictures(
        [
            (overlay(view, np.array(example.heat)), caption)
            for (view, caption), example in zip(tiles, examples, strict=True)
        ],
        "where-it-looks",
        key=f"half:{hard:.0f}:{typical:.0f}",
        finding="Half of the evidence for the predicted class covers "
        f"{number(hard, 0)} % of a hard image, and {number(typical, 0)} % of a typical one.",
        caption=Markup(
            "Orange is where an image speaks for the predicted class ({}; {} for a deeper head), "
            "in the hardest test images of the best run and then in its most typical ones.{}"
        ).format(cite("zhou2016"), cite("selvaraju2017"), about.credits),
        data=pd.DataFrame(example.model_dump() for example in examples),
    )


def _half_of_the_evidence(examples: list[Example]) -> float:
    """Smallest share of an image that holds half of its positive evidence, mean, per cent."""
    shares = []
    for example in examples:
        positive = -np.sort(-np.maximum(np.array(example.heat), 0), axis=None)
        reached = np.searchsorted(np.cumsum(positive), positive.sum() / 2)
        shares.append((reached + 1) / positive.size)
    return 100 * float(np.mean(shares))


@needs_runs
def labels(analysis: Analysis) -> HTML:
    """The labels that runs doubt most, of images that they did not train on."""
    evidence = analysis.evidence
    dataset = pictures(evidence)
    if dataset is None:
        return no_images(evidence)
    judged = judgements(evidence)
    classes, rows = np.array(judged.classes), np.arange(len(judged.labels))
    data = pd.DataFrame(
        {
            "image": judged.names,
            "label": classes[judged.labels],
            "probability": 100 * judged.of_label(judged.probabilities),
            "other": classes[judged.suggested],
            "probability_of_other": 100 * judged.probabilities[rows, judged.suggested],
            "runs": judged.runs,
        }
    ).sort_values("probability", kind="stable")
    about = shown.about(analysis)
    captions = {
        row.image: f"labelled {about.plain(row.label)}; {about.plain(row.other)}: "
        f"{row.probability_of_other:.0f} %"
        for row in data[data["image"].isin(dataset.names)].head(SHOWN).itertuples()
    }
    doubted = int((data["probability"] < DOUBTED).sum())
    return html.pictures(
        _tiles(evidence, dataset, captions),
        "labels-to-check",
        key=f"doubted:{doubted}",
        finding=(
            f"The runs give {doubted:,} of {len(data):,} labels a mean probability below "
            f"{DOUBTED} %."
        ),
        caption=Markup(
            "The labels with the lowest probability, each with the class preferred by the runs "
            "that did not train on the image. Either the label is wrong or the image is hard: only "
            "a person can tell.{}"
        ).format(about.credits),
        data=data,
    )


def planted(analysis: Analysis) -> HTML:
    """How many wrong labels the audit finds where they are known; nothing where it is not."""
    protocol = analysis.evidence.design.protocol
    measured = planted_in(protocol.dataset)
    if measured is None:
        return HTML("")
    name = shown.about(analysis).name
    return html.paragraph(
        [
            "How far to trust the audit: for a test of it, which has no part in other results, "
            f"{measured.planted} of {measured.images:,} {name} got a wrong label. It suspected "
            f"{number(100 * measured.suspected_recall, 0)} % of these. Of its first "
            f"{measured.first} suspects, {number(100 * measured.precision, 0)} % had a wrong "
            f"label; of the {measured.first} most confident errors of one run per image, "
            f"{number(100 * measured.one_run_precision, 0)} % had."
        ]
    )


@needs_runs
def more(analysis: Analysis) -> HTML:
    """What more training images would give."""
    evidence = analysis.evidence
    growth = growth_of(evidence)
    if growth is None:
        command = Markup("<code>effnet more {}</code>").format(evidence.design.name)
        return html.paragraph(["Not measured for this study:", command, "does it."])
    measured = ", ".join(
        f"{number(accuracy)} % with {size:,}"
        for size, accuracy in zip(growth.sizes, growth.accuracy, strict=True)
    )
    return html.paragraph(
        [
            growth.sentence,
            f"Measured on the best run's test images: {measured} training images.",
            "The interval is for other test images and other trainings.",
        ]
    )


@needs_runs
def by_group(analysis: Analysis) -> HTML:
    """Accuracy in each known subgroup of the images, such as the cell type."""
    evidence = analysis.evidence
    dataset = pictures(evidence)
    if dataset is None:
        return no_images(evidence)
    if not dataset.subgroups:
        return html.paragraph(["The images of this study are not divided into kinds."])
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
    for line, group in enumerate(means["group"]):
        points = data.loc[data["group"] == group, "accuracy"]
        heights = line + rng.uniform(-0.15, 0.15, len(points))
        axes.plot(points, heights, "o", color=OURS, alpha=0.4, markersize=4)
    axes.plot(means["accuracy"], means.index, "|", color=INK, markersize=22, markeredgewidth=2)
    words = means["group"].map(plain) + "\n" + means["images"].map("{:,} images".format)
    axes.set_yticks(means.index, words)
    axes.set_ylim(-0.5, len(means) - 0.5)
    axes.set_xlabel("test accuracy, %")
    low, high = means.iloc[0], means.iloc[-1]
    return html.figure(
        figure,
        "groups",
        finding=(
            f"Mean accuracy is {number(high.accuracy)} % on the kind {high.group} and "
            f"{number(low.accuracy)} % on the kind {low.group}."
        ),
        caption="Each point is one run's accuracy on one kind of test images; the stroke is their "
        "mean.",
        alt=sentences(means, "{group}: mean {accuracy:.1f} % on {images} images"),
        data=data,
    )


def _tiles(
    evidence: Evidence, dataset: Dataset, captions: dict[str, str]
) -> list[tuple[np.ndarray, str]]:
    """Images as the network sees them, by name, with their captions."""
    files, look = dict(zip(dataset.names, dataset.images, strict=True)), evidence.design.protocol
    return [
        (decode(files[name], SIDE, look.resize, look.background), caption)
        for name, caption in captions.items()
    ]


def _best_predictions(evidence: Evidence) -> pd.DataFrame:
    return pd.concat([evidence.predictions(record) for record in evidence.best])


def _best_words(evidence: Evidence) -> str:
    s, seeds = evidence.best_settings, len(evidence.best)
    words = f"the configuration that is best on validation ({configuration(s.levels)}"
    if seeds == 1:
        return f"{words}; one seed)"
    images = _best_predictions(evidence).index
    which = "one seed per image" if images.is_unique else "all images by each seed"
    return f"{words}; {seeds} seeds, {which}, {images.nunique():,} images)"


def _taken_for(evidence: Evidence) -> pd.Series:
    """The class that a test image is most often taken for, where it is wrong, by image."""
    classes = evidence.best[0].facts.classes
    tables = [evidence.predictions(record) for record in evidence.finished]
    wrong = pd.concat([table[table["label"] != table["predicted"]] for table in tables])
    votes = wrong.groupby(["image", "predicted"]).size().sort_values(kind="stable").reset_index()
    last = votes.drop_duplicates("image", keep="last").set_index("image")["predicted"]
    return last.map(lambda label: classes[label])
