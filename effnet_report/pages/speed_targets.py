"""What the benchmark was to reach, and whether it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_report.numbers import DASH, number
from effnet_report.render.html import link, table

Bench = dict[str, Any]
# How far from proportional to the images a run's time may be.
LINEAR = 0.1


@dataclass(frozen=True)
class Target:
    """What a measurement was to reach.

    Attributes:
        measured: its value and its spread, which may be absent.
        profile: the page's table that says where the time goes.
    """

    what: str
    limit: float
    at_most: bool
    measured: Callable[[Bench], tuple[float, list[float]]]
    profile: str = ""
    decimals: int = 2


def _value(*keys: str) -> Callable[[Bench], tuple[float, list[float]]]:
    """Reads a number of the benchmark and its spread; KeyError where it was not measured."""

    def read(bench: Bench) -> tuple[float, list[float]]:
        *above, last = keys
        for key in above:
            bench = bench[key]
        return bench[last], bench[f"{last}_spread"]

    return read


def _share_of_ceiling(bench: Bench) -> tuple[float, list[float]]:
    depths = [bench["prefix"][str(n)] for n in range(2, 7)]
    shares = [depth["speedup"] / depth["ceiling"] for depth in depths]
    return min(shares), [min(shares), max(shares)]


def _nonlinearity(bench: Bench) -> tuple[float, list[float]]:
    """Largest deviation of the time an image takes from its mean over the sizes."""
    each = [found["seconds"] / int(images) for images, found in bench["growth"].items()]
    mean = sum(each) / len(each)
    far = [abs(one / mean - 1) for one in each]
    return max(far), [min(far), max(far)]


def _slowest_depth(bench: Bench) -> tuple[float, list[float]]:
    depths = [found["ratio"] for found in bench["elpv"]["depths"].values()]
    return max(depths), [min(depths), max(depths)]


TARGETS = [
    Target(
        "time of a sweep of quick, all included, share of the expert's",
        *(0.95, True, _value("sweep", "expert_ratio")),
    ),
    Target(
        "time of one run a depth of elpv, share of the expert's",
        *(0.80, True, _value("elpv", "expert_ratio"), "limits"),
    ),
    Target("the same at the depth where it is largest", *(1.0, True, _slowest_depth, "limits")),
    Target(
        "time of all trainings of quick, share of the usual loop's",
        *(0.33, True, _value("sweep", "ratio")),
    ),
    Target(
        "speed-up by kept activations at freeze 2 to 6, least share of the ceiling",
        *(0.90, False, _share_of_ceiling, "shares"),
    ),
    Target(
        "arithmetic of a training step, ours over the usual loop's",
        *(1.3, False, _value("step", "ratio"), "profile"),
    ),
    Target(
        "fixed cost of a run in a sweep, s",
        *(0.8, True, _value("startup_seconds"), "beside-training"),
    ),
    Target("fixed cost of a typed run, s", *(6, True, _value("startup_typed_seconds"), "start"), 1),
    Target(
        "from effnet sweep to the first step, s",
        *(4, True, _value("start", "sweep", "all"), "start"),
        1,
    ),
    Target("time of a run: deviation from proportional", *(LINEAR, True, _nonlinearity)),
    Target("the book from nothing, s", *(60, True, _value("book", "clean_seconds")), decimals=0),
    Target(
        "the book after one record, s", *(15, True, _value("book", "rebuild_seconds")), decimals=0
    ),
    Target("the first page, kB", *(500, True, _value("book", "first_page_kb")), decimals=0),
]


def met(bench: Bench) -> HTML:
    """Each target with what was measured, whether it was met or not."""
    frame = pd.DataFrame(_target_row(target, bench) for target in TARGETS)
    measured = frame[frame["met"] != "not measured"]
    return table(
        frame,
        "targets",
        finding=(
            f"Targets met: {(measured['met'] == 'yes').sum()} of the {len(measured)} that were "
            "measured."
        ),
        caption=(
            "Medians over the turns of the benchmark, with the lowest and the highest turn; for "
            "the largest of the depths, the share of the ceiling and the deviation, with the "
            "lowest and the highest depth or size. A new record has all pages computed again "
            "that show the study, so it saves no more of the book's time than reading the run "
            "pages."
        ),
    )


def _target_row(target: Target, bench: Bench) -> dict[str, str]:
    def words(value: float) -> str:
        return number(value, target.decimals)

    bound = "at most" if target.at_most else "at least"
    row = {"what": target.what, "target": f"{bound} {words(target.limit)}"}
    try:
        value, (low, high) = target.measured(bench)
    except KeyError:
        return row | {"measured": DASH, "lowest to highest": DASH, "met": "not measured"}
    met = value <= target.limit if target.at_most else value >= target.limit
    return row | {
        "measured": words(value),
        "lowest to highest": f"{words(low)} to {words(high)}",
        "met": "yes" if met else _where_it_goes(target),
    }


def _where_it_goes(target: Target) -> str:
    """No, and the table that says why."""
    if not target.profile:
        return "no"
    return Markup("no: {}").format(link(f"#{target.profile}", "where the time goes"))
