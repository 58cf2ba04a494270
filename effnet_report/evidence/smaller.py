"""A study seen as a smaller one: a factor fixed at one level, or tuned on validation images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from effnet_core.study.design import SOURCE_FACTORS, Protocol
from effnet_core.study.schema import Record
from effnet_report.evidence.evidence import Evidence


def at(evidence: Evidence, levels: Mapping[str, Any]) -> Evidence:
    """The runs with these levels of some factors, as a study of the other factors."""
    runs = [
        record
        for record in evidence.finished
        if all(getattr(record.settings, name) == level for name, level in levels.items())
    ]
    return _smaller(evidence, levels, runs)


def with_tuned_rates(evidence: Evidence) -> Evidence:
    """The study as if each run had found its learning rate itself.

    Each seed takes, in each configuration of the other factors, the run whose rate is best on
    its validation images: its test images play no part. Configurations in which a rate is
    missing are left out.
    """
    rates = evidence.design.factors["learning_rate"]
    alike: dict[object, list[Record]] = {}
    for record in evidence.finished:
        others = [level for name, level in record.settings.levels.items() if name != RATE]
        alike.setdefault((record.settings.seed, *others), []).append(record)
    best = [
        max(runs, key=lambda run: run.validation_score)
        for runs in alike.values()
        if len(runs) == len(rates)
    ]
    return _smaller(evidence, {RATE: tuple(rates)}, best)


RATE = "learning_rate"


def _smaller(evidence: Evidence, fixed: Mapping[str, Any], runs: Sequence[Record]) -> Evidence:
    protocol = evidence.design.protocol.model_copy(update=dict(fixed))
    factors = _factors(evidence, set(fixed), protocol)
    design = evidence.design.model_copy(update={"factors": factors, "protocol": protocol})
    return replace(evidence, design=design, finished=[_numbered(run, factors) for run in runs])


def _factors(evidence: Evidence, fixed: set[str], protocol: Protocol) -> dict[str, list[Any]]:
    """The factors that are left; a study has all of the source's, or one that is not."""
    left = {name: levels for name, levels in evidence.design.factors.items() if name not in fixed}
    if left.keys() <= SOURCE_FACTORS.keys():
        return {name: left.get(name, [getattr(protocol, name)]) for name in SOURCE_FACTORS}
    return left


def _numbered(record: Record, factors: dict[str, list[Any]]) -> Record:
    """A record with its number in the smaller study; its name stays that of its files."""
    settings = record.settings.model_copy(update={"factors": factors})
    return record.model_copy(update={"settings": settings, "number": settings.number})
