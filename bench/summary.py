"""From single measurements to the numbers that the speed page shows."""

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any, get_args

from effnet_core.processor import Instructions
from effnet_core.study.design import FREEZE

Found = dict[str, Any]
Turn = dict[str, Found]  # what each arm found
STUDY = "quick"  # whose trainings are timed
LARGE = "elpv"  # whose images are many enough that only training counts
PEERS = ("channels_last", "torchcache", "lightning")
STEPS = [*(f"lite0 {n}" for n in (0, 5)), *(f"v2l {n}" for n in (0, 3, 6))]
IMAGES = (320, 640, 1280)
# Arms that train whole studies. Their seed is the turn, so that accuracies are no single draw.
SEEDED = ("complete", "expert", "ours", "peer")
SMALL = 0.03  # an operator's share of a step


def summary(measured: Sequence[dict[str, Any]]) -> Found:
    """Medians over the turns, each with its lowest and highest value beside it.

    A ratio is taken within a turn, so that a slow hour of the machine does not count. What was
    not measured is left out.

    Args:
        measured: each with `turn`, `arm` and what the arm `found`.
    """
    turns: list[Turn] = [{} for _ in range(1 + max((m["turn"] for m in measured), default=-1))]
    for one in measured:
        turns[one["turn"]][one["arm"]] = one["found"]
    return {
        "turns": len(turns),
        "sweep": _sweep(turns),
        **_against_expert(turns),
        **_limits(turns),
        "prefix": {str(n): _depth(turns, n) for n in FREEZE},
        "step": _steps(turns),
        "profile": _profile(turns),
        "shares": _shares(turns),
        **_instructions(turns),
        "evaluation": _evaluation(turns),
        **_median(turns, "startup_seconds", lambda t: t["ours all"]["fixed_seconds"]),
        **_median(turns, "startup_typed_seconds", lambda t: t["typed"]["fixed_seconds"]),
        **_start(turns),
        "growth": {
            str(n): _medians(turns, f"growth {n}", ("seconds", "fixed_seconds", "peak_memory_mb"))
            for n in IMAGES
        },
        "book": _medians(
            turns, "book", ("clean_seconds", "rebuild_seconds", "run_pages", "first_page_kb")
        ),
    }


def _median(turns: list[Turn], name: str, value: Callable[[Turn], float]) -> Found:
    """`name` and `name_spread`, lowest and highest; nothing where it was not measured."""
    values = []
    for turn in turns:
        try:
            values.append(value(turn))
        except KeyError:  # an arm that it needs has no measurement in this turn
            continue
    if not values:
        return {}
    return {name: median(values), f"{name}_spread": [min(values), max(values)]}


def _medians(turns: list[Turn], arm: str, keys: Sequence[str]) -> Found:
    found: Found = {}
    for key in keys:
        found |= _median(turns, key, lambda t, key=key: t[arm][key])  # type: ignore[misc]
    return found


def _sweep(turns: list[Turn]) -> Found:
    """The design: our time over that of the plain loop, and of each peer on some of its runs."""
    ours, plain = "ours all", "peer plain all"
    found = _median(turns, "ratio", lambda t: t[ours]["seconds"] / t[plain]["seconds"])
    found |= _median(
        turns, "expert_ratio", lambda t: t["complete"]["seconds"] / t["expert"]["seconds"]
    )
    for name in ("complete", "expert"):
        found |= _median(turns, f"{name}_seconds", lambda t, name=name: t[name]["seconds"])
    found |= _median(turns, "expert_lead", lambda t: _lead(t["complete"], t["expert"]))
    for name, arm in (("ours", ours), ("plain", plain)):
        found |= _median(turns, f"{name}_seconds", lambda t, arm=arm: t[arm]["seconds"])
        found |= _median(
            turns, f"{name}_accuracy", lambda t, arm=arm: fmean(t[arm]["accuracy"].values())
        )
    found |= _median(turns, "accuracy_lead", lambda t: _lead(t[ours], t[plain]))
    for peer in PEERS:
        arm = f"peer {peer} slice"
        found |= _median(
            turns,
            f"{peer}_ratio",
            lambda t, arm=arm: t["ours slice"]["seconds"] / t[arm]["seconds"],
        )
        found |= _median(
            turns,
            f"{peer}_accuracy_lead",
            lambda t, arm=arm: _lead(t["ours slice"], t[arm]),
        )
    return found


def _against_expert(turns: list[Turn]) -> Found:
    """One run a depth on many images: our time over the expert's, by depth and of all depths."""
    each = {
        str(n): _median(turns, "ratio", lambda t, n=n: _elpv(t, n, "ours") / _elpv(t, n, "expert"))
        for n in FREEZE
    }
    whole = _median(
        turns,
        "expert_ratio",
        lambda t: (
            sum(_elpv(t, n, "ours") for n in FREEZE) / sum(_elpv(t, n, "expert") for n in FREEZE)
        ),
    )
    depths = {depth: found for depth, found in each.items() if found}
    return {LARGE: whole | {"depths": depths}} if depths else {}


def _elpv(turn: Turn, freeze: int, form: str) -> float:
    return turn[f"elpv {freeze} {form}"]["seconds"]


def _limits(turns: list[Turn]) -> Found:
    """By depth: a step, and what arithmetic and memory alone would take, seconds."""
    keys = ("measured", "arithmetic", "memory")
    found = {str(n): _medians(turns, f"limit {n}", keys) for n in FREEZE}
    found = {depth: one for depth, one in found.items() if one}
    return {"limits": found} if found else {}


def _lead(ours: Found, theirs: Found) -> float:
    """By how many points our mean accuracy is higher, over the same configurations."""
    return fmean(ours["accuracy"].values()) - fmean(theirs["accuracy"].values())


def _start(turns: list[Turn]) -> Found:
    """From a command to its first step: seconds of each part, and of all."""
    made = [turn["start"] for turn in turns if "start" in turn]
    found = {
        what: _medians([{what: one[what]} for one in made], what, list(parts))
        for what, parts in (made or [{}])[0].items()
    }
    return {"start": found} if found else {}


def _depth(turns: list[Turn], freeze: int) -> Found:
    arm = f"depth {freeze}"
    found = _medians(turns, arm, ("speedup", "ceiling", "computed", "first", "later"))
    made = [turn[arm] for turn in turns if arm in turn]
    if made:
        found |= {key: all(one[key] for one in made) for key in ("kept", "equal")}
    return found


def _steps(turns: list[Turn]) -> Found:
    """Share of the machine's speed that a training step reaches, ours over plain."""
    found: Found = {}
    for which in STEPS:
        ours, plain = f"step {which} ours", f"step {which} plain"
        one = _median(
            turns,
            "ratio",
            lambda t, ours=ours, plain=plain: t[ours]["efficiency"] / t[plain]["efficiency"],
        )
        keys = (
            *("efficiency", "product_gflops", "images_per_second"),
            *("step_seconds", "peak_memory_mb"),
        )
        forms = ("ours", "threads", "plain")
        one |= {form: _medians(turns, f"step {which} {form}", keys) for form in forms}
        found[which] = {key: value for key, value in one.items() if value}
    first = {key: value for key, value in found[STEPS[0]].items() if key.startswith("ratio")}
    return first | found


def _profile(turns: list[Turn]) -> dict[str, dict[str, float]]:
    """By depth, the median share of each operator in a step; `other` are small at all depths."""
    made = [turn["profile"] for turn in turns if "profile" in turn]
    shares = {
        freeze: {name: median(one[freeze].get(name, 0.0) for one in made) for name in first}
        for freeze, first in (made or [{}])[0].items()
    }
    largest = {name for one in shares.values() for name, share in one.items() if share >= SMALL}
    return {
        freeze: {name: one.get(name, 0.0) for name in largest}
        | {"other": sum(share for name, share in one.items() if name not in largest)}
        for freeze, one in shares.items()
    }


def _shares(turns: list[Turn]) -> Found:
    """By depth, the frozen stages' share of a training step: of its arithmetic and its time."""
    made = [turn["shares"] for turn in turns if "shares" in turn]
    return {
        freeze: {key: median(one[freeze][key] for one in made) for key in ("arithmetic", "time")}
        for freeze in (made or [{}])[0]
    }


def _instructions(turns: list[Turn]) -> Found:
    """By depth, seconds of a step with portable and with native instructions, and their ratio."""
    made = [turn["instructions"] for turn in turns if "instructions" in turn]
    found = {
        freeze: _median(made, "ratio", lambda t, n=freeze: t[n]["portable"] / t[n]["native"])
        | _medians(made, freeze, get_args(Instructions))
        for freeze in (made or [{}])[0]
    }
    return {"instructions": found} if found else {}


def _evaluation(turns: list[Turn]) -> Found:
    made = [turn["evaluation"] for turn in turns if "evaluation" in turn]
    return {
        size: {
            "images_per_second": median(one[size]["images_per_second"] for one in made),
            "equal": all(one[size]["equal"] for one in made),
        }
        for size in (made or [{}])[0]
    }
