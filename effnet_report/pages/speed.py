"""What the benchmark measured: the speed page."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core import paths
from effnet_report.numbers import number
from effnet_report.pages.speed_targets import Bench
from effnet_report.render import html
from effnet_report.render.drawing import INK, OURS, THEIRS, canvas, legend, sentences
from effnet_report.render.finding import finding
from effnet_report.render.html import paragraph, table

PEERS = {
    "plain": "the usual loop",
    "channels_last": "the same, channels last",
    "torchcache": "the same with torchcache",
    "lightning": "Lightning",
}


def load() -> Bench:
    """What `make bench` has written; empty before it ran."""
    path = paths.bench()
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def answer(bench: Bench) -> HTML:
    """How much time the design takes here, against the way people do it."""
    sweep = bench.get("sweep", {})
    said = []
    if "expert_ratio" in sweep:
        said.append(
            f"A sweep, all included, takes {number(100 * sweep['expert_ratio'], 0)} % of the time "
            "that an expert's script takes for its trainings alone"
            f"{_on_many_images(bench)}."
        )
    if "ratio" in sweep:
        low, high = (number(lead) for lead in sweep["accuracy_lead_spread"])
        leads = f"{low} points" if low == high else f"{low} to {high} points, by seed"
        said.append(
            f"Its trainings take {number(100 * sweep['ratio'], 0)} % of the time that the usual "
            f"loop takes for them. Mean test accuracy, here minus there, is {leads}: the images "
            "come in another order."
        )
    return finding(
        " ".join(said) or "The comparison with other people's loops has not been measured yet."
    )


def _on_many_images(bench: Bench) -> str:
    """How a sentence about the expert ends."""
    ratio = bench.get("elpv", {}).get("expert_ratio")
    return f", and {number(100 * ratio, 0)} % where there are many images" if ratio else ""


def needs(*keys: str) -> Callable[[Callable[[Bench], HTML]], Callable[[Bench], HTML]]:
    """Say so in place of something that was not measured; `keys` lead to what it needs."""

    def decorate(draw: Callable[[Bench], HTML]) -> Callable[[Bench], HTML]:
        @wraps(draw)
        def drawing(bench: Bench) -> HTML:
            found: Any = bench
            for key in keys:
                found = found.get(key, {})
            command = Markup("Not measured yet. <code>make bench</code> does it.")
            return draw(bench) if found else paragraph([command], "report-gap")

        return drawing

    return decorate


@needs("sweep", "expert_ratio")
def expert(bench: Bench) -> HTML:
    """Our sweep and one run a depth, beside the expert's."""
    sweep, large = bench["sweep"], bench.get("elpv", {})
    rows = [("quick, the whole sweep", sweep["expert_ratio"], *sweep["expert_ratio_spread"])]
    if "expert_ratio" in large:
        rows.append(("elpv, all depths", large["expert_ratio"], *large["expert_ratio_spread"]))
    for depth, found in large.get("depths", {}).items():
        rows.append((f"elpv, {depth} frozen", found["ratio"], *found["ratio_spread"]))
    return table(
        pd.DataFrame(rows, columns=["trainings", "time, expert = 1", "lowest", "highest"]),
        "expert",
        decimals=2,
        finding=(
            f"The sweep takes {number(sweep['complete_seconds'], 0)} s, and the expert's script "
            f"{number(sweep['expert_seconds'], 0)} s for its trainings."
        ),
        caption=(
            "The expert's script: one process a core with one thread each, channels last, fused "
            "Adam, images decoded once into memory, all settings in one loop, and all "
            "instructions that PyTorch knows; no notebooks, no records, no classical comparison. "
            "Nothing stops early, so both train the same epochs. Of quick everything counts "
            "from the command on; of elpv one run a depth, alone, its training and evaluation. "
            f"Mean test accuracy, here minus there: {number(sweep['expert_lead'], 2)} points."
        ),
    )


@needs("limits")
def limits(bench: Bench) -> HTML:
    """What is left: a step by depth beside what the machine allows."""
    data = pd.DataFrame(
        {
            "frozen stages": int(depth),
            "measured, ms": 1000 * found["measured"],
            "arithmetic at peak, ms": 1000 * found["arithmetic"],
            "memory at its bandwidth, ms": 1000 * found["memory"],
            "of the limit, %": 100 * max(found["arithmetic"], found["memory"]) / found["measured"],
        }
        for depth, found in bench["limits"].items()
    )
    share = data["of the limit, %"]
    return table(
        data,
        "limits",
        finding=(
            f"A step reaches {number(share.min(), 0)} to {number(share.max(), 0)} % of what the "
            "machine allows, by depth."
        ),
        caption=(
            "A training step of elpv, one thread, kept activations. The larger of two times is a "
            "limit: its operations at the speed of a large matrix product, with all that the "
            "processor has, while trainings use portable instructions; and what has to go to "
            "memory and back at the speed of copying: activations once each way, of each weight "
            "that trains eight numbers. Depthwise convolutions and normalisation do little "
            "arithmetic for what they move, so no program reaches it."
        ),
    )


@needs("sweep", "ratio")
def design(bench: Bench) -> HTML:
    """How long others take for the same trainings, ours being one."""
    sweep = bench["sweep"]
    rows = [("ours", "this project", 1.0, 1.0, 1.0)]
    for peer, name in PEERS.items():
        key = "ratio" if peer == "plain" else f"{peer}_ratio"
        if key in sweep:
            low, high = sweep[f"{key}_spread"]
            rows.append((peer, name, 1 / sweep[key], 1 / high, 1 / low))
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
        axes.text(row.high, row.name, f"   {number(row.times)}", va="center")
    axes.set_xlabel("time for the same trainings, this project = 1")
    axes.set_xlim(0, 1.12 * data["high"].max())
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return html.figure(
        figure,
        "design-time",
        finding=(
            f"The usual loop takes {number(1 / sweep['ratio'])} times as long: "
            f"{number(sweep['plain_seconds'], 0)} s for what takes "
            f"{number(sweep['ours_seconds'], 0)} s here."
        ),
        caption=(
            "The usual loop decodes every image in every epoch, computes frozen stages in every "
            "step, and executes one notebook after another, with all cores. It trained all "
            "configurations; the other loops trained one of every other depth, against the same "
            "ones here. Filling our caches is included. Lines go from the lowest to the highest "
            "turn; each turn has a seed of its own. Mean test accuracy of all configurations: "
            f"{number(sweep['ours_accuracy'])} % here, "
            f"{number(sweep['plain_accuracy'])} % in the usual loop, which draws images and "
            "dropout in another order. Given the order, memory format and fused optimizer of our "
            "runs, the usual loop comes to the same weights, to the bit; a test trains both."
        ),
        alt=sentences(data, "{name}: {times:.2f} times as long"),
        data=data,
    )


@needs("prefix", "6", "speedup")
def depths(bench: Bench) -> HTML:
    """Speed-up by kept activations beside what arithmetic allows."""
    data = pd.DataFrame(
        {
            "freeze": int(freeze),
            "speedup": found["speedup"],
            "low": found["speedup_spread"][0],
            "high": found["speedup_spread"][1],
            "ceiling": found["ceiling"],
            "kept": found["kept"],
            "equal_to_the_bit": found["equal"],
        }
        for freeze, found in bench["prefix"].items()
        if found
    )
    figure = canvas(7.2, 3.4)
    axes = figure.subplots()
    axes.plot(data["freeze"], data["ceiling"], "_", color=INK, markersize=26, label="possible")
    axes.errorbar(
        data["freeze"], data["speedup"], fmt="o", color=OURS, capsize=4, label="measured",
        yerr=[data["speedup"] - data["low"], data["high"] - data["speedup"]],
    )  # fmt: skip
    axes.set_xlabel("frozen stages")
    axes.set_ylabel("times as fast with kept activations")
    axes.set_ylim(0.8, None)
    legend(figure, axes)
    deepest = data.iloc[-1]
    reached = number(100 * deepest["speedup"] / deepest["ceiling"], 0)
    same = f"{data['equal_to_the_bit'].sum()} of {len(data)} depths gave the same to the bit"
    return html.figure(
        figure,
        "kept-activations",
        finding=(
            f"With {deepest['freeze']} frozen stages a training is {number(deepest['speedup'])} "
            f"times as fast when their output is kept, {reached} % of what is possible; {same}."
        ),
        caption=(
            "Four trainings of one depth, the first of which computes what is kept, against four "
            "that keep nothing. The bar is the limit if reading cost nothing: the floating-point "
            "operations that remain."
        ),
        alt=sentences(data, "freeze {freeze}: {speedup:.2f} times, {ceiling:.2f} possible"),
        data=data,
    )


@needs("shares")
def shares(bench: Bench) -> HTML:
    """What keeping activations can save of a step: a share of its time, not of its arithmetic."""
    data = pd.DataFrame(
        {
            "frozen stages": int(freeze),
            "of the arithmetic, %": 100 * share["arithmetic"],
            "of the time, %": 100 * share["time"],
            "reachable of the limit, %": 100 * (1 - share["arithmetic"]) / (1 - share["time"]),
        }
        for freeze, share in bench["shares"].items()
    )
    ahead = data["of the arithmetic, %"] - data["of the time, %"]
    freeze, arithmetic, time, _ = data.loc[ahead.idxmax()]
    return table(
        data,
        "shares",
        finding=(
            f"With {freeze:.0f} frozen stages these take {number(arithmetic, 0)} % of the "
            f"arithmetic of a training step and {number(time, 0)} % of its time."
        ),
        caption=(
            "A step of the trainings above, on one thread. No more than this time can be saved by "
            "keeping activations. Where it is less than the share of the arithmetic, the stages "
            "that train are slower for each operation than the frozen ones, and no cache, however "
            "fast, gets a step to the limit above: only to the last column's share of it."
        ),
    )


@needs("growth", "320", "seconds")
def growth(bench: Bench) -> HTML:
    """Time and memory of one run on more and more images."""
    data = pd.DataFrame(
        {
            "images": int(images),
            "training, s": found["seconds"],
            "ms an image": 1000 * found["seconds"] / int(images),
            "fixed, s": found["fixed_seconds"],
            "peak memory, MB": round(found["peak_memory_mb"]),
        }
        for images, found in bench["growth"].items()
        if found
    )
    times = data["images"].iloc[-1] / data["images"].iloc[0]
    slower = data["training, s"].iloc[-1] / data["training, s"].iloc[0]
    more = data["peak memory, MB"].iloc[-1] / data["peak memory, MB"].iloc[0]
    return table(
        data,
        "growth",
        finding=(
            f"{number(times, 0)} times the images take {number(slower)} times as long and "
            f"{number(more, 2)} times the memory."
        ),
        caption=(
            "One run in a process of its own, caches empty; fixed: imports, decoding and loading. "
            f"In a sweep {_seconds(bench, 'startup_seconds')} of a run are not training, from a "
            f"typed command {_seconds(bench, 'startup_typed_seconds')}: a sweep imports once, "
            "for all its runs."
        ),
    )


def _seconds(bench: Bench, key: str) -> str:
    return f"{number(bench[key])} s" if key in bench else "an unmeasured time"


@needs("machine")
def machine(bench: Bench) -> HTML:
    """Where and with what this was measured."""
    commits = sorted({one["commit"] for one in bench["measurements"]})
    rows = [
        *(("hardware", name, value) for name, value in bench["machine"].items()),
        *(("version", name, value) for name, value in bench["versions"].items()),
        ("commit", "git", ", ".join(commits)),
    ]
    return table(
        pd.DataFrame(rows, columns=["what", "name", "value"]),
        "bench-machine",
        finding=f"{bench['turns']} turns of {len({m['arm'] for m in bench['measurements']})} arms.",
        caption="All arms take turns, each in a process of its own and with empty caches.",
    )
