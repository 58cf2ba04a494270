"""What the benchmark measured of single training steps: tables of the speed page."""

import pandas as pd
from IPython.display import HTML

from effnet_report.numbers import number
from effnet_report.pages.speed import needs
from effnet_report.pages.speed_targets import Bench
from effnet_report.render.html import table

NETWORKS = {"lite0": "Lite0", "v2l": "V2-L"}
LOOPS = {
    "ours": "here",
    "threads": "here, alone",
    "plain": "usual loop",
}


@needs("step", "ratio")
def steps(bench: Bench) -> HTML:
    """How much of the machine's speed a training step uses, and what it takes."""
    rows = []
    for which, found in bench["step"].items():
        if not isinstance(found, dict):
            continue
        network, freeze = which.split()
        for loop, name in LOOPS.items():
            if loop not in found:
                continue
            one = found[loop]
            rows.append(
                {
                    "network": NETWORKS[network],
                    "freeze": int(freeze),
                    "loop": name,
                    "of peak, %": 100 * one["efficiency"],
                    "peak, GFLOP/s": one["product_gflops"],
                    "images/s": one["images_per_second"],
                    "step, ms": 1000 * one["step_seconds"],
                    "GB": one["peak_memory_mb"] / 1024,
                }
            )
    ratio = bench["step"]["ratio"]
    return table(
        pd.DataFrame(rows),
        "steps",
        finding=f"A training step does {number(ratio)} times as much arithmetic a second.",
        caption=(
            "Steps on batches of four: EfficientNet-Lite0 at 128 px, V2-L at 480 px. The peak is a "
            "product of two large matrices on the same cores in the same minute; where it differs "
            "between two lines of one network, the machine did. Only operations that are executed "
            "count. GB is the peak memory of a process. For the small network "
            "this project runs one training a core, or alone one on all cores, as the usual loop."
        ),
    )


@needs("instructions")
def instructions(bench: Bench) -> HTML:
    """What it costs that every processor gives the same bits."""
    data = pd.DataFrame(
        {
            "frozen stages": int(freeze),
            "portable, ms": 1000 * found["portable"],
            "native, ms": 1000 * found["native"],
            "portable, native = 1": number(found["ratio"], 2),
            "lowest to highest": " to ".join(number(r, 2) for r in found["ratio_spread"]),
        }
        for freeze, found in bench["instructions"].items()
    )
    times = [found["ratio"] for found in bench["instructions"].values()]
    return table(
        data,
        "instructions",
        finding=(
            f"For the same bits on every processor a step takes {number(min(times), 2)} to "
            f"{number(max(times), 2)} times as long, by depth, as with all instructions that "
            "this one has."
        ),
        caption=(
            "A training step of elpv, one thread, kept activations; both at the same time, one a "
            "core. Trainings use portable instructions, unless a study says instructions: native."
        ),
    )


@needs("profile")
def profile(bench: Bench) -> HTML:
    """Which operators a training step spends its time in."""
    data = pd.DataFrame(
        {_frozen(freeze): 100 * pd.Series(shares) for freeze, shares in bench["profile"].items()}
    )
    shallow, deep = data.columns
    operators = data.drop(index="other").sort_values(shallow, ascending=False)
    first, second = operators[shallow].idxmax(), operators[deep].idxmax()
    return table(
        pd.concat([operators, data.loc[["other"]]]).reset_index(names="operator of PyTorch"),
        "profile",
        decimals=0,
        finding=(
            f"The largest part of a training step is {first} when nothing is frozen "
            f"({number(operators.loc[first, shallow], 0)} %), {second} when most is "
            f"({number(operators.loc[second, deep], 0)} %)."
        ),
        caption=(
            "Shares of a step's time, %, on one thread; what leaves the frozen stages is kept. "
            "convolution_backward is the gradient of the convolutions. The optimizer (fused_adam) "
            "and the normalisation are no arithmetic that the limit counts."
        ),
    )


def _frozen(freeze: str) -> str:
    return f"{freeze} frozen, %"


@needs("evaluation")
def evaluation(bench: Bench) -> HTML:
    """Whether larger batches would evaluate faster, and change nothing."""
    data = pd.DataFrame(
        {
            "batch": int(size),
            "images/s": found["images_per_second"],
            "equal to the bit": "yes" if found["equal"] else "no",
        }
        for size, found in bench["evaluation"].items()
    )
    fastest = data.loc[data["images/s"].idxmax()]
    gain = fastest["images/s"] / data["images/s"].iloc[0]
    finding = (
        f"Evaluation is fastest in batches of {fastest['batch']}, {number(gain, 2)} times as "
        f"fast as in batches of {data['batch'].iloc[0]}."
        if gain > 1
        else f"No larger batch evaluates faster than batches of {fastest['batch']}."
    )
    return table(
        data,
        "evaluation-batches",
        finding=finding,
        caption="Images are evaluated in batches of the size they are trained in.",
    )
