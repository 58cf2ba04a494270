"""The page From your photos to a model: how long it takes, and where to set the threshold."""

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_report.inference import forecast
from effnet_report.inference.analysis import Analysis
from effnet_report.measurements.photos import Photos
from effnet_report.numbers import duration, number
from effnet_report.pages import shown
from effnet_report.pages.gaps import needs_runs, not_measured, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import SERIES, canvas, legend, sentences
from effnet_report.render.html import finding, paragraph, table

NETWORKS = {
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
    "tf_efficientnetv2_l.in21k_ft_in1k": "EfficientNetV2-L",
}
DEPTHS, FOLDS = 4, 5  # of the studies whose times are shown
THRESHOLDS = np.linspace(0.05, 0.95, 19)


def answer(analysis: Analysis) -> HTML:
    """What a study takes, from the one that is shown."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    hours = sum(record.made.spent["total"] for record in evidence.everything) / 3600
    took = f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes"
    return finding(
        f"The {len(evidence.finished)} fine-tuned runs of the study shown here, with "
        f"{len(evidence.without_training)} models without fine-tuning, took {took} of CPU time.",
        "You say how many hours a study of your own photos may take; it ends with a report like "
        "this one and a trained model. With a few thousand photos the report will usually say "
        "that it cannot tell whether freezing costs accuracy; the model, its accuracy and what it "
        "misses are known all the same.",
    )


def times() -> HTML:
    """How long a study of some numbers of photos takes, as `effnet plan` computes it."""
    photos = Photos.load()
    if photos is None:
        return not_measured("python -m bench.photos")
    rows = pd.DataFrame([row.model_dump() for row in photos.rows])
    on_cpu = rows["device"] == "cpu"
    rows["where"] = rows["device"].where(~on_cpu, rows["jobs"].map("{} cores of a CPU".format))
    rows["network"] = rows["backbone"].map(NETWORKS) + rows["image_size"].map(", {} px".format)
    rows["time"] = (3600 * rows["hours"]).map(duration)
    frame = rows.pivot(index="photos", columns=["where", "network"], values="time").reset_index()
    frame.columns = [": ".join(filter(None, name)) for name in frame.columns]
    wide = {photos: _half_width(photos) for photos in frame["photos"]}
    frame["effect of freezing known to, points"] = frame["photos"].map(wide).map("± {:.1f}".format)
    usual = photos.usual
    return table(
        frame,
        "how-long",
        finding=f"A study of {usual.photos:,} photos takes {duration(3600 * usual.hours)} on "
        f"{usual.jobs} cores of a CPU, and measures how freezing changes accuracy, with "
        f"an interval of ± {number(wide[usual.photos])} points.",
        caption=Markup(
            "A study of {} runs, four depths in five folds, with more epochs for fewer photos; its "
            "interval is forecast from the studies of this report. The times are those of "
            "<code>effnet plan</code> on {} and on the GPU, which trains a larger network."
        ).format(int(usual.runs), photos.machine["processor"]),
        data=rows.drop(columns=["where", "network", "time"]),
    )


def _half_width(photos: int) -> float:
    """Half of the interval of a depth minus none, points, if every photo is tested once."""
    components, _ = forecast.published((), forecast.RECIPE)
    return forecast.half_width(components, DEPTHS, seeds=FOLDS, images=photos, folds=True)


@needs_runs
def threshold(analysis: Analysis) -> HTML:
    """What another threshold than one half would miss, and how many false alarms it would raise."""
    evidence = analysis.evidence
    classes = evidence.best[0].facts.classes
    if len(classes) != 2:
        return paragraph(["A threshold can be chosen where there are two classes."])
    tables = pd.concat(evidence.predictions(record) for record in evidence.best)
    rare = int(tables["label"].value_counts().idxmin())
    chance = np.where(tables["predicted"] == rare, tables["confidence"], 1 - tables["confidence"])
    is_rare = (tables["label"] == rare).to_numpy()
    data = pd.DataFrame(
        {
            "threshold": value,
            "missed": 100 * float((chance[is_rare] < value).mean()),
            "false_alarms": 100 * float((chance[~is_rare] >= value).mean()),
        }
        for value in THRESHOLDS
    )
    about = shown.about(analysis)
    name, other = about.plain(classes[rare]), about.plain(classes[1 - rare])
    figure = canvas(7.2, 3.4)
    axes = figure.subplots()
    axes.plot(data["threshold"], data["missed"], color=SERIES[1], label=f"missed: {name}")
    axes.plot(
        data["threshold"],
        data["false_alarms"],
        "--",
        color=SERIES[0],
        label=f"false alarm: {other}",
    )
    axes.set_xlabel(f"probability from which an image counts as {name}")
    axes.set_ylabel("share of the images, %")
    legend(figure, axes)
    half = data.iloc[len(data) // 2]
    low = data.iloc[(data["missed"] - 10).abs().argmin()]
    return html.figure(
        figure,
        "threshold",
        finding=(
            f"At a threshold of {number(half.threshold, 2)} the model misses "
            f"{number(half.missed, 0)} of 100 images of {name} and raises a false alarm for "
            f"{number(half.false_alarms, 0)} of 100 of {other}; at {number(low.threshold, 2)} it "
            f"misses {number(low.missed, 0)}, with {number(low.false_alarms, 0)} false alarms."
        ),
        caption="Test images of the configuration that is best on validation; the card of the "
        "first page averages all configurations of its depth. A lower threshold misses less and "
        "raises more false alarms.",
        alt=sentences(
            data, "{threshold:.2f}: missed {missed:.0f} %, false alarms {false_alarms:.0f} %"
        ),
        data=data,
    )
