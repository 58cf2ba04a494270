"""When one machine is not enough: what a cluster would bring, as it was simulated."""

from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import FREEZE
from effnet_report.evidence import measurements
from effnet_report.evidence.measurements import Cluster
from effnet_report.numbers import number
from effnet_report.render import html
from effnet_report.render.html import finding

AGAIN = Markup("To repeat it: <code>python -m bench.cluster published/elpv</code>.")
GOAL = 90.0  # per cent of the GPUs' time


def load() -> Cluster | None:
    """What was simulated last; None if nothing was."""
    return measurements.cluster()


def answer(simulated: Cluster | None) -> HTML:
    """How much faster a cluster is, and what bounds it."""
    if simulated is None:
        return finding("No cluster has been simulated yet.", AGAIN)
    return finding(*_answer(_used(simulated)))


def _answer(ours: pd.DataFrame) -> Iterator[str]:
    one, most = ours.iloc[0], ours[ours["seeds"] == ours["seeds"].min()].iloc[-1]
    yield (
        f"On {most.gpus} GPUs a study of {most.seeds} seeds of the source's network would be "
        f"{number(one.hours / most.hours, 0)} times as fast as on one: they would be busy for "
        f"{number(most.efficiency, 0)} % of the time."
    )
    yield (
        f"More than {number(most.bound)} % is impossible, because the longest run is not split."
        if most.bound < GOAL
        else f"The aim was {number(GOAL, 0)} %."
    )
    enough = ours[(ours["gpus"] == most.gpus) & (ours["efficiency"] >= GOAL)]
    if len(enough) and most.efficiency < GOAL:
        first = enough.iloc[0]
        yield f"With {first.seeds} seeds it would be {number(first.efficiency, 0)} %."
    yield "This is simulated: no such cluster was there to measure."


def hours(simulated: Cluster | None) -> HTML:
    """Time and use of the GPUs, in the order that sweeps on Ray have."""
    if simulated is None:
        return HTML("")
    ours = _used(simulated)
    shown = pd.DataFrame(
        {
            "GPUs": ours["gpus"],
            "seeds": ours["seeds"],
            "runs": ours["runs"],
            "hours": [number(value, 2) for value in ours["hours"]],
            "in use, %": [
                f"{number(row.efficiency)} ({number(row.low)} to {number(row.high)})"
                for row in ours.itertuples()
            ],
            "at most, %": ours["bound"],
        }
    )
    return html.table(
        shown,
        "cluster-hours",
        finding=_more_seeds(ours),
        caption=(
            "In use: the time on one GPU, divided by the GPUs and by the time on them; in brackets "
            f"the middle 90 % of {simulated.replicates} draws of how many epochs runs take. At "
            "most: with all GPUs busy until the end, or as long as the longest run."
        ),
        data=ours,
    )


def _more_seeds(ours: pd.DataFrame) -> str:
    """How much busier the largest number of GPUs is with more seeds."""
    largest = ours[ours["gpus"] == ours["gpus"].max()]
    few, many = largest.loc[largest["seeds"].idxmin()], largest.loc[largest["seeds"].idxmax()]
    return (
        f"{few.gpus} GPUs are busy for {number(few.efficiency, 0)} % of the time with {few.seeds} "
        f"seeds, and for {number(many.efficiency, 0)} % with {many.seeds}."
    )


def orders(simulated: Cluster | None) -> HTML:
    """The order in which runs begin, and whether they seek the node that keeps their depth."""
    if simulated is None:
        return HTML("")
    frame = _frame(simulated)
    frame = frame[frame["gpus"] > 1]
    cases = [f"{row.gpus} GPUs, {row.seeds} seeds" for row in frame.itertuples()]
    wide = frame.assign(case=cases).pivot_table(
        index="order", columns="case", values="efficiency", sort=False
    )
    gained = wide.loc[simulated.used] - wide.iloc[0]
    steered = wide.iloc[-1] - wide.loc[simulated.used]
    return html.table(
        wide.reset_index(),
        "cluster-orders",
        finding=(
            f"Starting the longest runs first adds {number(gained.min())} to "
            f"{number(gained.max())} points to the order of Table 1; steering runs to nodes that "
            f"keep their depth adds at most {number(steered.max())} more."
        ),
        caption="Per cent of the GPUs' time in use, by the order in which runs begin.",
        data=frame,
    )


def assumptions(simulated: Cluster | None) -> HTML:
    """What the simulation takes for granted."""
    if simulated is None:
        return HTML("")
    train, validation, test = simulated.images
    cached = [str(n) for n in FREEZE if simulated.cached[n]]
    shares = [f"{number(100 * share, 0)} %" for share in simulated.prefix[1:]]
    means = [number(sum(e) / len(e)) for e in simulated.epochs]
    return html.paragraph(
        [
            f"A run's time is its arithmetic at {number(simulated.speed / 1e12, 0)} TFLOP/s, "
            f"as measured on an {simulated.gpu} with nothing frozen, and "
            f"{number(simulated.fixed, 0)} s besides, a guess. Steps with frozen stages do less of "
            "it a second there.",
            f"Of a forward pass, {', '.join(shares)} are in the stages frozen at depths 1 to "
            f"{FREEZE[-1]}; training computes what is not frozen three times.",
            f"A run has {train} training, {validation} validation and {test} test images, and "
            f"stops after as many epochs as a run of its depth in {simulated.epochs_of}, drawn by "
            f"chance: {', '.join(means)} on average.",
            f"{simulated.on_a_node} GPUs share a disk, on which the activations of depths "
            f"{', '.join(cached)} are cached once a run has computed them. A first epoch is shared "
            "with the run that differs only in its schedule, on whatever node it trains.",
            "Not in it: the classical comparison, transfers, nodes that fail, GPUs of several "
            "speeds.",
            AGAIN,
        ]
    )


def _used(simulated: Cluster) -> pd.DataFrame:
    """The rows of the order that sweeps on Ray have."""
    frame = _frame(simulated)
    return frame[frame["order"] == simulated.used]


def _frame(simulated: Cluster) -> pd.DataFrame:
    """One row a case and order; shares in per cent."""
    frame = pd.DataFrame([row.model_dump() for row in simulated.rows])
    shares = ["efficiency", "low", "high", "bound"]
    return frame.assign(**{name: 100 * frame[name] for name in shares})
