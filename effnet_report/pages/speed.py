"""The page Speed: what a user gains, against the scripts that people write."""

import numpy as np
import pandas as pd
from IPython.display import HTML

from effnet_report.measurements.file import Measured
from effnet_report.measurements.speed import Benchmark, Recipe, benchmark
from effnet_report.numbers import number
from effnet_report.pages.gaps import not_measured
from effnet_report.render import html
from effnet_report.render.drawing import (
    INK,
    MARKERS,
    OURS,
    SERIES,
    THEIRS,
    canvas,
    legend,
    logarithmic,
    sentences,
)
from effnet_report.render.html import finding, table
from effnet_report.words import joined

PEERS = {
    "plain": "usual loop",
    "channels_last": "usual loop, channels last",
    "torchcache": "the same with torchcache",
    "lightning": "Lightning",
}
BUDGETS = (60, 125, 250, 500, 1000)  # CPU seconds
STUDIES = {"elpv": "solar cells", "fashion": "Fashion-MNIST"}
RECIPES = {"fastai": "fastai, fine_tune", "keras": "Keras guide", "probe": "logistic regression"}


def load() -> Benchmark:
    """What `make bench` has written; empty before it ran."""
    return benchmark()


def answer(bench: Benchmark) -> HTML:
    """How much time the design takes here, against the way people do it."""
    sweep, findings = bench.sweep, []
    if sweep.against_expert:
        findings.append(
            f"A complete sweep takes {_shorter(sweep.against_expert)} time than the trainings of a "
            f"hand-tuned script, overhead included.{_on_many_images(bench)}"
        )
    if usual := sweep.against_peers.get("plain"):
        findings.append(
            f"Our trainings are {number(1 / usual.median)} times as fast as a plain loop that "
            "decodes every image in every epoch."
        )
    return finding(*findings) if findings else finding("The speed has not been measured yet.")


def _shorter(ratio: Measured) -> str:
    """As in `12 % less`, of a ratio of times."""
    percent = number(100 * abs(1 - ratio.median), 0)
    return f"{percent} % {'less' if ratio.median < 1 else 'more'}"


def _on_many_images(bench: Benchmark) -> str:
    """The same of one training per depth, without anything around it on either side."""
    large = bench.large.all_depths
    if large is None:
        return ""
    return (
        f" One training per depth on all solar cells takes {_shorter(large)} time, without "
        "decoding and overhead on both sides."
    )


def expert(bench: Benchmark) -> HTML:
    """Our sweep and one run per depth, relative to a hand-tuned script."""
    sweep, large = bench.sweep, bench.large
    if not (sweep.against_expert and sweep.complete and sweep.expert):
        return not_measured("make bench")
    rows = {"quick study, complete sweep": sweep.against_expert}
    if large.all_depths:
        rows["solar-cell study, all depths"] = large.all_depths
    for depth, ratio in large.by_depth.items():
        rows[f"solar-cell study, freeze {depth}"] = ratio
    data = pd.DataFrame(
        {
            "trainings": name,
            "relative time": r.median,
            "lowest": r.low if r.low < r.high else np.nan,  # measured once
            "highest": r.high if r.low < r.high else np.nan,
        }
        for name, r in rows.items()
    )
    lead = ""
    if sweep.expert_lead:
        points = sweep.expert_lead.median
        lead = (
            f" Our mean test accuracy is {number(abs(points), 2)} points "
            f"{'above' if points > 0 else 'below'} that of the script."
        )
    return table(
        data,
        "expert",
        decimals=2,
        finding=(
            f"The complete sweep takes {number(sweep.complete.median, 0)} s; the hand-tuned script "
            f"takes {number(sweep.expert.median, 0)} s for its trainings."
        ),
        caption=(
            "Time relative to a script that runs one process per core with decoded images in "
            "memory, channels last and fused Adam, and that writes no records."
            f"{lead}"
        ),
    )


def design(bench: Benchmark) -> HTML:
    """How long others take for the same trainings, ours being one."""
    sweep = bench.sweep
    usual = sweep.against_peers.get("plain")
    if not (usual and sweep.plain and sweep.trainings and sweep.lead):
        return not_measured("make bench")
    rows = [("ours", "this project", 1.0, 1.0, 1.0)]
    for peer, name in PEERS.items():
        if ratio := sweep.against_peers.get(peer):
            rows.append((peer, name, 1 / ratio.median, 1 / ratio.high, 1 / ratio.low))
    data = pd.DataFrame(rows, columns=["peer", "name", "times", "low", "high"])
    figure = canvas(7.2, 0.7 + 0.45 * len(data))
    axes = figure.subplots()
    colours = [OURS, *[THEIRS] * (len(data) - 1)]
    axes.barh(data["name"], data["times"], color=colours, height=0.6)
    axes.errorbar(
        data["times"], data["name"], fmt="none", ecolor=INK, capsize=3,
        xerr=[data["times"] - data["low"], data["high"] - data["times"]],
    )  # fmt: skip
    for row in data.itertuples():
        axes.annotate(number(row.times), (row.high, row.name), xytext=(8, 0),
                      textcoords="offset points", va="center")  # fmt: skip
    axes.set_xlabel("time for the same trainings, this project = 1")
    axes.set_xlim(0, 1.12 * data["high"].max())
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return html.figure(
        figure,
        "design-time",
        finding=(
            f"The usual loop takes {number(1 / usual.median)} times as long: "
            f"{number(sweep.plain.median, 0)} s instead of {number(sweep.trainings.median, 0)} s."
        ),
        caption=(
            "The usual loop decodes every image in every epoch and computes frozen stages in every "
            "step; filling our caches is included in our time. Mean test accuracy differs by "
            f"{number(sweep.lead.median)} points, because the images come in another order."
        ),
        alt=sentences(data, "{name}: {times:.2f} times as long"),
        data=data,
    )


def depths(bench: Benchmark) -> HTML:
    """Speed-up by kept activations beside what arithmetic allows."""
    kept = {freeze: times for freeze, times in bench.kept.items() if times.kept}
    if not kept:
        return not_measured("make bench")
    data = pd.DataFrame(
        {
            "freeze": freeze,
            "speedup": times.speedup.median,
            "low": times.speedup.low,
            "high": times.speedup.high,
            "ceiling": times.ceiling.median,
            "equal_to_the_bit": times.equal,
        }
        for freeze, times in kept.items()
    )
    figure = canvas(7.2, 3.4)
    axes = figure.subplots()
    axes.plot(data["freeze"], data["ceiling"], "_", color=INK, markersize=26, label="upper bound")
    axes.errorbar(
        data["freeze"], data["speedup"], fmt="o", color=OURS, capsize=4, label="measured",
        yerr=[data["speedup"] - data["low"], data["high"] - data["speedup"]],
    )  # fmt: skip
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("speed-up by kept activations")
    axes.set_xticks(data["freeze"])
    axes.set_ylim(0.8, None)
    legend(figure, axes)
    deepest = data.iloc[-1]
    reached = number(100 * deepest["speedup"] / deepest["ceiling"], 0)
    same = f"{data['equal_to_the_bit'].sum()} of {len(data)} depths gave the same results"
    return html.figure(
        figure,
        "kept-activations",
        finding=(
            f"With {deepest['freeze']:.0f} frozen stages, keeping their activations makes training "
            f"{number(deepest['speedup'])} times as fast, {reached} % of the upper bound; {same}."
        ),
        caption=(
            "Four trainings per depth with kept activations against four without; the first of "
            "them computes what is kept. The upper bound counts the operations that remain."
        ),
        alt=sentences(data, "freeze {freeze}: {speedup:.2f} times, {ceiling:.2f} possible"),
        data=data,
    )


def recipes(bench: Benchmark) -> HTML:
    """Accuracy after so much CPU time: our recipe, and those that people install."""
    data = pd.DataFrame(
        {
            "images": STUDIES[point.study],
            "recipe": _recipe(point),
            "epochs": point.epochs,
            "cpu_seconds": point.cpu_seconds.median,
            "validation": point.validation.median,
            "accuracy": point.accuracy.median,
            "low": point.accuracy.low,
            "high": point.accuracy.high,
            "ours": point.tool == "ours",
        }
        for point in bench.recipes
    )
    if data.empty:
        return not_measured("make bench")
    parts, names = dict(list(data.groupby("images", sort=False))), [*data["recipe"].unique()]
    figure = canvas(7.2, 1.2 + 3.2 * len(parts))
    panels = figure.subplots(len(parts), squeeze=False)[:, 0]
    for axes, (images, part) in zip(panels, parts.items(), strict=True):
        for name, points in part.groupby("recipe", sort=False):
            place, shown = names.index(name), points.sort_values("cpu_seconds")
            axes.errorbar(
                shown["cpu_seconds"], shown["accuracy"],
                yerr=[shown["accuracy"] - shown["low"], shown["high"] - shown["accuracy"]],
                fmt=MARKERS[place] + ("-" if shown["ours"].all() else ":"),
                color=SERIES[place], label=name,
            )  # fmt: skip
        logarithmic(axes)
        axes.set(xlabel="CPU time, s", ylabel=f"test accuracy, %, {images}")
    legend(figure, *panels)
    return html.figure(
        figure,
        "recipes",
        finding=" ".join(_against_recipes(images, part) for images, part in parts.items()),
        caption=(
            "Each point is a training from the same weights, judged on the same images: ours at "
            "the epoch that is best on validation, the others at their last one. "
            f"{_measured_recipes(bench)}"
        ),
        alt=sentences(data, "{images}, {recipe}, {epochs} epochs: {accuracy:.1f} % after "
                      "{cpu_seconds:.0f} s"),
        data=data,
    )  # fmt: skip


def _measured_recipes(bench: Benchmark) -> str:
    """On what, and with how many seeds, the recipes were measured."""
    measured = [one for one in bench.measurements if one.arm.startswith("recipe")]
    seeds = len({one.turn for one in measured})
    on = {one.processor or bench.machine.get("processor", "") for one in measured} - {""}
    where = f" on one core of {joined(sorted(on))}" if on else ""
    bars = f"bars are the range over {seeds} seeds" if seeds > 1 else "there is one seed so far"
    return f"CPU time counts until the model is trained{where}; {bars}."


def _recipe(point: Recipe) -> str:
    return f"freeze {point.freeze}" if point.tool == "ours" else RECIPES[point.tool]


def _against_recipes(images: str, part: pd.DataFrame) -> str:
    """How often our best model is ahead, and when it is as good as the best of fastai.

    The best of several is chosen by its validation images.
    """
    own, others = part[part["ours"]], part[~part["ours"]]
    if missing := [name for name in RECIPES.values() if name not in {*others["recipe"]}]:
        return f"On {images}, {joined(missing)} is not measured yet, so nothing is compared."

    def best(models: pd.DataFrame, budget: int) -> float:
        in_time = models[models["cpu_seconds"] <= budget]
        return 0.0 if in_time.empty else in_time.loc[in_time["validation"].idxmax(), "accuracy"]

    ahead = sum(0 < best(own, budget) >= best(others, budget) for budget in BUDGETS)
    reached = (
        f"On {images}, our best model is at least as accurate as that of any other tool at {ahead} "
        f"of {len(BUDGETS)} time limits from {BUDGETS[0]} to {BUDGETS[-1]:,} s."
    )
    rivals = others[others["recipe"] == RECIPES["fastai"]]
    if rivals.empty or own.empty:
        return reached
    rival = rivals.loc[rivals["validation"].idxmax()]
    as_good = own.loc[own["accuracy"] >= rival["accuracy"], "cpu_seconds"]
    if as_good.empty:
        return f"{reached} It does not reach the best of fastai, {number(rival['accuracy'])} %."
    share = number(100 * as_good.min() / rival["cpu_seconds"], 0)
    return (
        f"{reached} It reaches the accuracy of the best fastai training in {share} % of its CPU "
        "time."
    )
