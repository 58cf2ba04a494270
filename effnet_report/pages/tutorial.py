"""The page From your photos to a model: how long it takes, and where to set the threshold."""

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_report.evidence import measurements
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.gaps import needs_runs, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import SERIES, canvas, legend, sentences
from effnet_report.render.html import finding, paragraph, table

PHOTOS = (300, 3_000, 30_000)
# Of a study: four depths in five folds, eight epochs, and one for each rate that loses the race.
RUNS, EPOCHS = 20, 10
TRAINING = 3 / 5  # of the images: one fifth tests, a quarter of the rest is for validation
THRESHOLDS = np.linspace(0.05, 0.95, 19)


def answer(analysis: Analysis) -> HTML:
    """What a study takes, from the one that is shown."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    made = [record.made for record in evidence.everything]
    hours = sum((one.cpu_seconds or one.seconds)["total"] for one in made) / 3600
    took = f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes"
    return finding(
        f"The {len(evidence.everything)} runs behind this report took {took} of CPU time.",
        "You say how many hours a study of your own photos may take; it ends with a report like "
        "this one and a trained model.",
    )


@needs_runs
def times(analysis: Analysis) -> HTML:
    """How long a study of some numbers of photos takes, from measured times per image."""
    evidence = analysis.evidence
    facts, protocol = evidence.finished[0].facts, evidence.design.protocol
    per_image = evidence.runs["epoch_seconds"].mean() / facts.train_images
    cores = 2
    frame = pd.DataFrame({"photos": PHOTOS})
    work = RUNS * EPOCHS * TRAINING * frame["photos"]
    here = f"on a laptop, this study's network at {protocol.image_size} px, hours"
    frame[here] = work * per_image / cores / 3600
    if gpu := measurements.gpu():
        steps = [s.seconds for s in gpu.steps if s.precision == "float32" and s.form == "computed"]
        there = f"on one {gpu.machine['gpu']}, the source's network at 480 px, hours"
        frame[there] = work * float(np.mean(steps)) / 4 / 3600
    return table(
        frame,
        "how-long",
        finding=f"{PHOTOS[1]:,} photos take about "
        f"{number(frame[here].iloc[1], 0)} hours on a laptop with {cores} cores.",
        caption=Markup(
            "A study of {} runs of {} epochs. <code>effnet plan</code> measures yours on your "
            "machine."
        ).format(RUNS, EPOCHS),
    )


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
            f"{number(half.missed, 0)} % with {number(half.false_alarms, 0)} % false alarms; at "
            f"{number(low.threshold, 2)} it misses {number(low.missed, 0)} % with "
            f"{number(low.false_alarms, 0)} %."
        ),
        caption="Test images of the configuration that is best on validation. A lower threshold "
        "misses less and raises more false alarms.",
        alt=sentences(
            data, "{threshold:.2f}: missed {missed:.0f} %, false alarms {false_alarms:.0f} %"
        ),
        data=data,
    )
