"""The sentences that open the first page: what to do on each data set, and how sure that is."""

from collections.abc import Iterable, Iterator

from markupsafe import Markup

from effnet_report import words
from effnet_report.inference import recipes
from effnet_report.inference.advice import Advice
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.recommendation import WORTH
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.answer_cards import (
    better_elsewhere,
    classical,
    one_recipe,
    saves,
    span,
    stages,
    sure,
)
from effnet_report.render.html import apart
from effnet_report.words import joined


def opening(main: Analysis, advised: list[tuple[Analysis, Advice]]) -> Iterator[str]:
    """The advice in a line, then what the recipe changes, then each data set with its numbers."""
    if not advised:
        yield from main.recommendation.sentences
        return
    if len({advice.freeze for _, advice in advised}) > 1:
        listed = [f"{_of(study, advice)} on {shown.about(study).name}" for study, advice in advised]
        yield f"Freeze {joined(listed)}."
    elif len(advised) > 1:
        yield f"Freeze {stages(advised[0][1].freeze)}: {_all(len(advised))} data sets agree."
    else:
        ((study, advice),) = advised
        yield f"Freeze {_of(study, advice)} on {shown.about(study).name}."
    if all(study.evidence.design.protocol.data_dir is None for study, _ in advised):
        yield "On images of your own, train all stages until a study of them says otherwise."
    yield from apart(_recipes(advised))
    for study, advice in advised:
        yield from apart(_sentences(study, advice))


def _of(study: Analysis, advice: Advice) -> str:
    """As in `nothing` and `2 of 7 stages`."""
    return (
        f"{advice.freeze} of {study.recommendation.stages} stages" if advice.freeze else "nothing"
    )


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _recipes(advised: list[tuple[Analysis, Advice]]) -> Iterator[str]:
    """By how much the recipe of each data set is ahead of one like the source's."""
    pairs = {
        study: recipes.ends(group)
        for study, _ in advised
        if (group := shown.with_other_recipes(study)) and recipes.is_like_the_source(group[-1])
    }
    gains = {
        study: recipes.gain(pair, 0)
        for study, pair in pairs.items()
        if pair[0].evidence.reference == study.evidence.reference
    }
    if not gains:
        return
    more = all(
        gain.low > max(max(abs(d.change.low), abs(d.change.high)) for d in study.depths)
        for study, gain in gains.items()
    )
    listed = [
        f"{span(gain, sign=True)} points (95 % CI) on {shown.about(study).name}"
        for study, gain in gains.items()
    ]
    yield (
        f"The rest of the recipe matters {'more than freezing' if more else 'too'}: with the one "
        f"on the cards instead of one like the source's, {advised[0][1].metric} with nothing "
        f"frozen changed by {joined(listed)}."
    )
    differing = [
        f"in {joined(map(words.factor, others))} on {shown.about(study).name}"
        for study in gains
        if (others := recipes.other_settings(pairs[study]))
    ]
    if differing:
        yield f"The two recipes also differ {joined(differing)}: the parts cannot be told apart."
    yield Markup('<a href="recipe.html">Does the recipe matter?</a>')


def _sentences(study: Analysis, advice: Advice) -> Iterator[str]:
    """One data set's advice with its number, how sure it is, and whether anything beats it."""
    name, metric, change = shown.about(study).name, advice.metric, advice.depth.change
    effect = f"changed {metric} by {number(change.effect, sign=True)} points"
    low, high = change.low, change.high
    if change.low > 0:
        effect = f"raised {metric} by {number(change.effect)} points"
    if change.high < 0:
        effect = f"lowered {metric} by {number(-change.effect)} points"
        low, high = -change.high, -change.low
    interval = f"95 % CI {number(low)} to {number(high)}"
    unclear = all(depth.change.low <= 0 <= depth.change.high for depth in study.depths)
    if unclear and not advice.freeze:
        yield from _undecided(study, name, advice)
    else:
        if advice.freeze:
            yield (
                f"On {name}, freeze {stages(advice.freeze)}: this {effect} ({interval}) and "
                f"{saves(study, advice.depth)}."
            )
        else:
            which = stages(advice.depth.freeze)
            yield f"On {name}, freeze nothing: freezing {which} {effect} ({interval})."
        if change.low <= 0 <= change.high:
            yield f"{sure(advice)}."
            if advice.freeze and advice.on_validation != advice.freeze:
                other = stages(advice.on_validation)
                yield f"Validation images alone would choose freezing {other}."
        if harmful := [depth for depth in study.depths if depth.change.high < 0]:
            worst = min((depth.change for depth in harmful), key=lambda lost: lost.effect)
            yield (
                f"Freezing {any_of([depth.freeze for depth in harmful])} lowered "
                f"{metric}, by up to {number(-worst.effect)} points (95 % CI "
                f"{number(-worst.high)} to {number(-worst.low)})."
            )
        if advice.freeze and one_recipe(study) and (better := better_elsewhere(study)):
            yield f"Only one recipe was studied in full there, and it may favour freezing{better}."
        if others := shown.begun(study):
            yield f"This may change: {others}."
    lead = study.over_classical
    if lead.known and lead.high < 0:
        only = ", with the only recipe that was studied in full there" if one_recipe(study) else ""
        yield (
            f"On {name}, the best classical model ({classical(study)}) is more accurate than the "
            f"best fine-tuned network{only}, by {number(-lead.effect)} points (95 % CI "
            f"{number(-lead.high)} to {number(-lead.low)})."
        )


def any_of(depths: Iterable[int]) -> str:
    """As in `5 or 6 stages`."""
    *others, last = depths
    return joined([*others, stages(last)], "or")


def _undecided(study: Analysis, name: str, advice: Advice) -> Iterator[str]:
    """What to do where no depth is shown to be better, worse or as good."""
    depth = advice.depth
    yield (
        f"On {name}, we cannot tell whether freezing helps or harms with this recipe, so train the "
        "whole network."
    )
    wide = depth.change.effect - depth.change.low
    if depth.time.effect >= WORTH:
        yield (
            f"If training time matters, freezing {stages(depth.freeze)} has the smallest possible "
            f"loss: it changed {advice.metric} by {span(depth.change, sign=True)} points (95 % CI) "
            f"and {saves(study, depth)}."
        )
        if len(study.depths) > 1:
            yield f"Picking it from {len(study.depths)} depths flatters it."
    if wide > advice.margin:
        yield (
            "The study is too small to settle this: even if freezing cost nothing, an interval of "
            f"± {number(wide)} points would usually not rule out a loss of "
            f"{number(advice.margin)} points."
        )
