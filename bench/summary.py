"""From single measurements to the numbers that the speed page shows."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import fmean
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from effnet_core.study.design import FREEZE
from effnet_report.measurements.file import Measured
from effnet_report.measurements.speed import (
    Benchmark,
    Book,
    Growth,
    Instructions,
    KeptActivations,
    LargeRuns,
    Limit,
    Measurement,
    Recipe,
    Step,
    Sweep,
)

Found = dict[str, Any]
STUDY = "quick"  # whose trainings are timed
LARGE = "elpv"  # whose images are many enough that only training counts
PEERS = ("channels_last", "torchcache", "lightning")
STEPS = [*(f"lite0 {n}" for n in (0, 5)), *(f"v2l {n}" for n in (0, 3, 6))]
LOOPS = ("ours", "threads", "plain")
IMAGES = (320, 640, 1280)
# Accuracy against time: sides of the images by study, pixels, so that all fits into minutes; and a
# tool with frozen stages and epochs.
RECIPE_SIDES = {"elpv": 96, "fashion": 64}
RECIPES = [
    *(f"ours {freeze} {epochs}" for freeze in (0, 4, 6) for epochs in (1, 2, 4, 8)),
    *(f"fastai {epochs}" for epochs in (5, 10, 20)),
    *(f"keras {epochs}" for epochs in (5, 10)),
    "probe",
]
# Arms whose seed is the turn, so that accuracies are no single draw.
SEEDED = ("complete", "expert", "elpv", "ours", "peer", "recipe")
Part = TypeVar("Part", bound=BaseModel)


class Turns:
    """What each arm found, turn by turn.

    A ratio is taken within a turn, so that a slow hour of the machine does not count.
    """

    def __init__(self, measured: Sequence[Measurement]) -> None:
        count = 1 + max((measurement.turn for measurement in measured), default=-1)
        self.each: list[dict[str, Found]] = [{} for _ in range(count)]
        for measurement in measured:
            self.each[measurement.turn][measurement.arm] = measurement.found

    def measured(self, value: Callable[[dict[str, Found]], float]) -> Measured | None:
        """A value over the turns that have all it needs; None without any."""
        return Measured.of(self._values(value))

    def _values(self, value: Callable[[dict[str, Found]], float]) -> Iterator[float]:
        for turn in self.each:
            try:
                yield value(turn)
            except KeyError:  # an arm that it needs has no measurement in this turn
                continue

    def part(self, kind: type[Part], arm: str, **more: object) -> Part | None:
        """A part of the summary whose fields an arm found; None where it was not measured."""
        fields = {
            name: self.measured(lambda turn, name=name: turn[arm][name])  # type: ignore[misc]
            for name, field in kind.model_fields.items()
            if field.annotation is Measured
        }
        try:
            return kind.model_validate(fields | more)
        except ValidationError:
            return None


def summary(measured: Sequence[Measurement]) -> Benchmark:
    """Medians over the turns, each with its lowest and highest value beside it."""
    turns = Turns(measured)
    plain_first, ours_first = (f"step {STEPS[0]} {loop}" for loop in ("plain", "ours"))
    return Benchmark(
        turns=len(turns.each),
        sweep=_sweep(turns),
        large=_large(turns),
        limits=_present({n: turns.part(Limit, f"limit {n}") for n in FREEZE}),
        kept=_present({n: _kept(turns, n) for n in FREEZE}),
        steps=list(_steps(turns)),
        steps_ratio=turns.measured(
            lambda t: t[ours_first]["efficiency"] / t[plain_first]["efficiency"]
        ),
        instructions=_present({n: _instructions(turns, n) for n in FREEZE}),
        overhead=turns.measured(lambda t: t["ours all"]["fixed_seconds"]),
        overhead_typed=turns.measured(lambda t: t["typed"]["fixed_seconds"]),
        start=_start(turns),
        growth=_present({n: turns.part(Growth, f"growth {n}") for n in IMAGES}),
        book=turns.part(Book, "book"),
        recipes=list(_recipes(turns)),
        measurements=list(measured),
    )


Key = TypeVar("Key")
Value = TypeVar("Value")


def _present(parts: dict[Key, Value | None]) -> dict[Key, Value]:
    """Without what was not measured."""
    return {key: part for key, part in parts.items() if part is not None}


def _sweep(turns: Turns) -> Sweep:
    def accuracy(arm: str) -> Measured | None:
        return turns.measured(lambda t: fmean(t[arm]["accuracy"].values()))

    def ratio(ours: str, theirs: str) -> Measured | None:
        return turns.measured(lambda t: t[ours]["seconds"] / t[theirs]["seconds"])

    def seconds(arm: str) -> Measured | None:
        return turns.measured(lambda t: t[arm]["seconds"])

    peers = {name: ratio("ours slice", f"peer {name} slice") for name in PEERS}
    return Sweep(
        complete=seconds("complete"),
        expert=seconds("expert"),
        against_expert=ratio("complete", "expert"),
        expert_lead=turns.measured(lambda t: _lead(t["complete"], t["expert"])),
        trainings=seconds("ours all"),
        plain=seconds("peer plain all"),
        against_peers=_present({"plain": ratio("ours all", "peer plain all"), **peers}),
        accuracy=accuracy("ours all"),
        plain_accuracy=accuracy("peer plain all"),
        lead=turns.measured(lambda t: _lead(t["ours all"], t["peer plain all"])),
    )


def _lead(ours: Found, theirs: Found) -> float:
    """By how many points our mean accuracy is higher, over the same configurations."""
    return fmean(ours["accuracy"].values()) - fmean(theirs["accuracy"].values())


def _large(turns: Turns) -> LargeRuns:
    def seconds(turn: dict[str, Found], freeze: int, form: str) -> float:
        return turn[f"elpv {freeze}"][form]

    def over_all(turn: dict[str, Found]) -> float:
        ours, expert = (sum(seconds(turn, n, form) for n in FREEZE) for form in ("ours", "expert"))
        return ours / expert

    each = {
        n: turns.measured(lambda t, n=n: seconds(t, n, "ours") / seconds(t, n, "expert"))  # type: ignore[misc]
        for n in FREEZE
    }
    return LargeRuns(all_depths=turns.measured(over_all), by_depth=_present(each))


def _kept(turns: Turns, freeze: int) -> KeptActivations | None:
    made = [turn[f"depth {freeze}"] for turn in turns.each if f"depth {freeze}" in turn]
    both = {key: all(measurement[key] for measurement in made) for key in ("kept", "equal")}
    return turns.part(KeptActivations, f"depth {freeze}", **both)


def _steps(turns: Turns) -> Iterator[Step]:
    for which in STEPS:
        network, freeze = which.split()
        for loop in LOOPS:
            named = {"network": network, "freeze": int(freeze), "loop": loop}
            if step := turns.part(Step, f"step {which} {loop}", **named):
                yield step


def _recipes(turns: Turns) -> Iterator[Recipe]:
    for (study, side), trained in product(RECIPE_SIDES.items(), RECIPES):
        tool, *numbers = trained.split()
        *freeze, epochs = map(int, numbers) if numbers else (0,)
        named = {"study": study, "tool": tool, "freeze": freeze[0] if freeze else None}
        if point := turns.part(Recipe, f"recipe {study} {side} {trained}", **named, epochs=epochs):
            yield point


def _instructions(turns: Turns, freeze: int) -> Instructions | None:
    def seconds(form: str) -> Measured | None:
        return turns.measured(lambda t: t["instructions"][str(freeze)][form])

    def ratio(turn: dict[str, Found]) -> float:
        steps = turn["instructions"][str(freeze)]
        return steps["portable"] / steps["native"]

    portable, native, both = seconds("portable"), seconds("native"), turns.measured(ratio)
    if not (portable and native and both):
        return None
    return Instructions(portable=portable, native=native, ratio=both)


def _start(turns: Turns) -> dict[str, dict[str, Measured]]:
    """From a command to its first step: seconds of each part, and of all."""
    made = next((turn["start"] for turn in turns.each if "start" in turn), {})
    return {
        command: _present(
            {part: turns.measured(lambda t, c=command, p=part: t["start"][c][p]) for part in parts}  # type: ignore[misc]
        )
        for command, parts in made.items()
    }
