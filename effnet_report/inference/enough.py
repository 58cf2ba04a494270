"""Has a study trained enough? Its depth may be decided before all of its seeds are trained.

The study is looked at after every seed from the second on. The intervals hold for all depths at
all looks at once (Dunnett over the depths, Bonferroni over the looks), so that a study that stops
when its depth is decided is wrong about any depth at most one time in twenty.
"""

from dataclasses import dataclass, replace

from effnet_report.evidence.correctness import Correctness
from effnet_report.inference import decisive, forecast
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import Estimator
from effnet_report.numbers import number
from effnet_report.words import joined


@dataclass(frozen=True)
class Look:
    """What the first complete seeds of a study decide.

    Attributes:
        seeds: that are complete, of those that are planned.
        planned: seeds of the whole study.
        freeze: the deepest freeze that loses less than the margin, 0 if each loses more; None
            while a deeper one may still be as good.
        deeper: whether deeper ones were tried.
        unclear: the depths of which neither is shown.
        margin: points.
    """

    seeds: int
    planned: int
    freeze: int | None
    deeper: bool
    unclear: list[int]
    margin: float

    @property
    def sentence(self) -> str:
        """What is decided, or which depths are open."""
        after = f"After {self.seeds} of {self.planned} seeds the depth is"
        points = f"{number(self.margin)} points"
        if self.freeze is None:
            which = f"freeze {joined(self.unclear, 'or')}" if self.unclear else "any freeze"
            return f"{after} not decided: we cannot tell whether {which} loses more than {points}."
        if self.freeze == 0:
            return f"{after} decided: every freeze loses more than {points}."
        deeper = ", and any deeper one loses more" if self.deeper else ""
        return f"{after} decided: freeze {self.freeze} loses less than {points}{deeper}."


def looks(study: Analysis) -> list[Look]:
    """What a study showed after each of its complete seeds, from the second on."""
    return [look(study, seeds) for seeds in range(2, len(study.correctness.seeds) + 1)]


def look(study: Analysis, seeds: int | None = None) -> Look:
    """What the first complete seeds decide; by default all of them."""
    whole, planned = study.correctness, len(study.evidence.design.seeds)
    seeds = len(whole.seeds) if seeds is None else seeds
    compared = Estimator(first(whole, seeds))
    shown = decisive.noninferiority(compared, study.margin, looks=max(1, planned - 1))
    deepest = shown.deepest_noninferior
    unclear = [n for n in shown.changes if n > deepest and n not in shown.inferior]
    decided = bool(shown.changes) and not unclear
    return Look(
        seeds,
        planned,
        freeze=deepest if decided else None,
        deeper=deepest < max(shown.changes, default=0),
        unclear=unclear,
        margin=study.margin,
    )


def outlook(study: Analysis) -> str:
    """How narrow the intervals will be with all seeds, from the complete ones, at least one."""
    metric, seeds = study.evidence.metric, study.evidence.design.seeds
    reach = number(forecast.whole(study, study.estimator))
    return (
        f"Forecast after {len(study.correctness.seeds)} of {len(seeds)} seeds: with all seeds, "
        f"the change of {metric} by freezing will be known to about \N{PLUS-MINUS SIGN}{reach} "
        "points."
    )


def first(whole: Correctness, seeds: int) -> Correctness:
    """What there was when only the first seeds were complete."""
    return replace(
        whole,
        seeds=whole.seeds[:seeds],
        right=whole.right[:seeds],
        test_sets=whole.test_sets[:seeds],
    )
