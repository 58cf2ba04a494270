"""When one machine is not enough: what a cluster would bring, as it was simulated."""

from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import FREEZE
from effnet_report.measurements.cluster import Cluster
from effnet_report.numbers import number
from effnet_report.render import html
from effnet_report.render.html import finding

AGAIN = Markup("To repeat it: <code>python -m bench.cluster published/elpv_source</code>.")
GOAL = 90.0  # per cent of the GPUs' time


def load() -> Cluster | None:
    """What was simulated last; None if nothing was."""
    return Cluster.load()


def answer(simulated: Cluster | None) -> HTML:
    """How much faster a cluster is, and what bounds it."""
    if simulated is None:
        return finding("No cluster has been simulated yet.", AGAIN)
    return finding(*_answer(_used(simulated)))


def _answer(ours: pd.DataFrame) -> Iterator[str]:
    single, most = ours.iloc[0], ours[ours["seeds"] == ours["seeds"].min()].iloc[-1]
    yield (
        f"In simulation, a study of {most.seeds} seeds of the source's network runs "
        f"{number(single.hours / most.hours, 0)} times as fast on {most.gpus} GPUs as on one; the "
        f"GPUs are busy for {number(most.efficiency, 0)} % of the time."
    )
    if most.bound < GOAL:
        yield f"The upper bound is {number(most.bound)} %, because the longest run is not split."
    enough = ours[(ours["gpus"] == most.gpus) & (ours["efficiency"] >= GOAL)]
    if len(enough) and most.efficiency < GOAL:
        first = enough.iloc[0]
        yield f"With {first.seeds} seeds they are busy for {number(first.efficiency, 0)} %."


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
            "upper bound, %": ours["bound"],
        }
    )
    return html.table(
        shown,
        "cluster-hours",
        finding=_more_seeds(ours),
        caption=(
            "In use is the share of the GPUs' time, with the middle 90 % of "
            f"{simulated.replicates} simulations in brackets. The longest run sets the upper bound."
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
    most = float(steered.max())
    more = f"at most {number(most)} more" if round(most, 1) > 0 else "nothing"
    return html.table(
        wide.reset_index(),
        "cluster-orders",
        finding=(
            f"Starting the longest runs first adds {number(gained.min())} to "
            f"{number(gained.max())} points over the order of the table; sending runs to nodes "
            f"that already keep their depth adds {more}."
        ),
        caption="Share of the GPUs' time in use, in per cent, by the order in which runs begin.",
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
            f"The time of a run is its arithmetic at {number(simulated.speed / 1e12, 0)} TFLOP/s, "
            f"measured on one {simulated.gpu} with nothing frozen, plus an assumed "
            f"{number(simulated.fixed, 0)} s of overhead.",
            f"The stages frozen at depths 1 to {FREEZE[-1]} hold {', '.join(shares)} of a forward "
            "pass; a training step costs three forward passes of what is not frozen.",
            f"A run has {train:,} training, {validation:,} validation and {test:,} test images. "
            f"Its number of epochs is drawn from the committed runs of its depth: "
            f"{', '.join(means)} on average.",
            f"{simulated.on_a_node} GPUs share a disk with the kept activations of depths "
            f"{', '.join(cached)}. Runs that differ only in their schedule share a first epoch.",
            "The simulation leaves out classical models, transfers, failing nodes and GPUs of "
            "different speeds.",
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
