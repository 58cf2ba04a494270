"""The cards of the first page, one per data set, and the words that they share with the page."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from effnet_core.data.images import decode
from effnet_core.study.design import short_number
from effnet_report import words
from effnet_report.evidence import smaller
from effnet_report.evidence.pictures import pictures
from effnet_report.inference import contrasts, recipes
from effnet_report.inference.advice import (
    EITHER,
    FEWEST,
    Advice,
    advise,
    complete,
    saved_without_keeping,
)
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.comparison import kinds
from effnet_report.inference.recommendation import WORTH, Depth
from effnet_report.inference.seeds_and_images import LEVEL, Estimate
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages import shown
from effnet_report.render import html
from effnet_report.render.html import link

PICTURES, SIDE = 2, 72  # of each class, and pixels
RECIPE = ("norm_statistics", "learning_rate", "augment")
THRESHOLD = "tutorial.html#choose-a-threshold"
EXAMPLE = (20, 1000)  # images of a class, of all, to count what is missed
CLASSES = 4  # of which pictures and missed shares are shown


def card(study: Analysis) -> Markup:
    """The card of one data set."""
    about, advised = shown.about(study), advise(study)
    rows = dict(_facts(study, advised)) if advised else {"advice": "none: the study is too small"}
    listed = Markup().join(Markup("<dt>{}</dt><dd>{}</dd>").format(*row) for row in rows.items())
    name = study.evidence.design.name
    key = f"advice:{name}:{f'freeze{advised.freeze}' if advised else 'none'}"
    return Markup(
        '<section class="report-card" data-finding="{}"><h3>{}</h3>{}<p class="report-credits">{}'
        "{}</p><dl>{}</dl></section>"
    ).format(
        key,
        about.name[:1].upper() + about.name[1:],
        _pictures(study),
        about.rule,
        about.credits,
        listed,
    )


def _facts(study: Analysis, advised: Advice) -> Iterator[tuple[str, str]]:
    """What stands on a card, line by line."""
    yield "What to do", Markup("<br>").join(_compared(study, advised))
    yield "Recipe used", Markup("<br>").join(_recipe(study, advised))
    few = len(study.correctness.seeds) < FEWEST
    of_images = " (the interval is for other images only)" if few else ""
    yield (
        study.evidence.metric.capitalize(),
        (
            f"{span(advised.accuracy)} %{of_images}, the mean over {_averaged(study, advised)}; "
            f"always naming the commonest class would reach {number(_commonest(study))} %"
            f"{_flattered(study, advised)}"
        ),
    )
    yield "How sure", f"{sure(advised)}."
    yield f"Highest {advised.metric}", _best(advised)
    yield "Saves", _saves(study, advised)
    yield "Misses", _missed(study, advised.missed)
    yield "Against classical models", _against_classical(study.over_classical)
    yield "Evidence", _evidence(study)


def _flattered(study: Analysis, advised: Advice) -> str:
    """What to expect without neighbours on both sides of the split, where that clearly differs."""
    return "".join(
        f". Expect about {number(advised.accuracy.effect + change.effect)} % on images that are "
        f"not neighbours of training images: with neighbours on one side of the split, it is "
        f"{number(-change.effect)} points less ({number(-change.high)} to {number(-change.low)})"
        for change in shown.flattery(study)
        if change.frozen == advised.freeze and change.high < 0
    )


def _averaged(study: Analysis, advised: Advice) -> str:
    """Which configurations an accuracy is the mean of."""
    design = study.correctness.design
    wanted = {"freeze": advised.freeze} | advised.choices
    at = [design[name] == level for name, level in wanted.items() if level != EITHER]
    count = int(np.all(at, axis=0).sum())
    return f"the {count} configurations advised here" if count > 1 else "its seeds"


def _commonest(study: Analysis) -> float:
    """What always naming the class with the most test images would reach, per cent."""
    evidence = study.evidence
    if evidence.design.protocol.criterion == "balanced_accuracy":
        return 100 / len(evidence.best[0].facts.classes)
    labels = pd.concat(evidence.predictions(record)["label"] for record in evidence.best)
    return float(100 * labels.value_counts(normalize=True).max())


def _evidence(study: Analysis) -> str:
    """How many runs stand behind a card, of what."""
    runs, facts = len(complete(study)), study.evidence.facts
    # Of a study that compares recipes, a card is about the best one.
    same = (s for s in shown.every() if s.evidence.reference == study.evidence.reference)
    of = len(complete(next(same, study)))
    chosen = (
        f"{runs:,} of {of:,} runs, those with the best recipe" if of > runs else f"{runs:,} runs"
    )
    if left := study.evidence.unfinished:
        chosen += f" so far, {len(left):,} are still to come"
    images = study.correctness.images
    trained = (
        f", each trained on {facts.train_images:,}, validated on {facts.validation_images:,} and "
        f"tested on {facts.test_images:,} images"
        if facts
        else ""
    )
    all_folds = f", {images:,} of them over all seeds" if study.correctness.folds else ""
    return (
        f"{chosen} ({len(study.evidence.configurations)} configurations, "
        f"{len(study.correctness.seeds)} seeds){trained}{all_folds}; all images are resized to "
        f"squares of {study.evidence.design.protocol.image_size} px"
    )


def _saves(study: Analysis, advised: Advice) -> str:
    """What the advised depth saves, or what freezing would save where nothing is to be frozen."""
    depth = advised.depth
    if advised.freeze:
        return f"{saves(study, depth).removeprefix('saves ')}{_memory(depth.memory)}"
    told = f"nothing; freezing {stages(depth.freeze)} {saves(study, depth)}"
    if depth.time.effect < WORTH:
        return told
    return f"{told}, and changed {advised.metric} by {span(depth.change, sign=True)} points"


def _memory(saved: Estimate) -> str:
    """What freezing does to the memory of a run, where that is clear."""
    if saved.high < 0:
        return f"; with kept output, a run takes {number(-saved.effect, 0)} % more memory"
    return f"; and {number(saved.effect, 0)} % of the memory" if saved.low > 0 else ""


def saves(study: Analysis, depth: Depth) -> str:
    """What a depth does to the time, with and without kept outputs of the frozen stages."""
    without, time = number(saved_without_keeping(study, depth.freeze), 0), depth.time
    if time.high < 0:
        return f"takes {number(-time.effect, 0)} % more time per epoch"
    if time.effect < WORTH:
        return "saves no time"
    interval = f" (95 % CI {number(time.low, 0)} to {number(time.high, 0)})" * time.known
    return (
        f"saves {number(time.effect, 0)} %{interval} of the time per epoch if the output of the "
        f"frozen stages is kept on disk, about {without} % if not"
    )


def _compared(study: Analysis, advised: Advice) -> Iterator[str]:
    """What the study compared: the depth, and the other choices."""
    of, lead = study.recommendation.stages, study.over_classical
    if lead.known and lead.high < 0:
        yield f"first try {classical(study)}, which is more accurate here; if you fine-tune:"
    yield f"freeze {f'{advised.freeze} of {of} stages' if advised.freeze else 'nothing'}"
    for name, level in advised.choices.items():
        chosen = words.beside(name, level)
        if level == EITHER:
            first, *_, last = contrasts.levels(study.correctness.design, name)
            (effect,) = contrasts.levels_at_once(study.estimator, name).values()
            chosen = (
                f"either, as no difference is shown; {words.beside(name, last)} instead of "
                f"{words.beside(name, first)} changed {advised.metric} by "
                f"{span(effect, sign=True)} points"
            )
        yield f"{words.factor(name)}: {chosen}"


def _recipe(study: Analysis, advised: Advice) -> Iterator[str]:
    """What all runs of the study had in common."""
    protocol = study.evidence.design.protocol
    for name in (name for name in RECIPE if name not in advised.choices):
        level = words.beside(name, getattr(protocol, name))
        rate = f"{_rate(study)}{_rate_there(study, advised.freeze)}" * (name == smaller.RATE)
        yield f"{words.factor(name)}: {rate or level}"
    yield f"optimizer: Adam without weight decay, {protocol.batch_size} images per step"
    yield f"epochs: {protocol.epochs}"
    if one_recipe(study) and (others := shown.begun(study)):
        yield f"{others}, and its result may change this advice"
    elif one_recipe(study):
        yield f"no other recipe was tried on these images{better_elsewhere(study)}"


def better_elsewhere(study: Analysis) -> str:
    """Whether the recipe of a study was clearly surpassed on the images of another one."""
    for other in shown.advising():
        whole = recipes.comparable([other, *shown.on_the_same_images(other)])
        same = [one for one in whole if recipes.recipe_of(one) == recipes.recipe_of(study)]
        if same and other in whole and (gain := recipes.gain([other, *same], 0)).low > 0:
            return (
                f"; on {shown.about(other).name}, a network with nothing frozen was {span(gain)} "
                "points more accurate with another recipe than with this one"
            )
    return ""


def classical(study: Analysis) -> str:
    """The kinds of the models without fine-tuning that fine-tuning is compared with."""
    return kinds([record.outcome for record in study.rival])


def one_recipe(study: Analysis) -> bool:
    """Whether the book has no other recipe on these images."""
    compared = [other for other in shown.recipes() if other.correctness.seeds]
    alike = any(shown.same_images(study, other) for other in compared)
    return not (alike or shown.with_other_recipes(study))


def _rate_there(study: Analysis, freeze: int) -> str:
    """Which learning rate all runs of a depth chose, if they raced and agree."""
    runs = [record for record in study.evidence.finished if record.settings.freeze == freeze]
    won = {record.outcome.history[0].learning_rate for record in runs if record.outcome.race}
    return f"; at the advised depth always {short_number(won.pop())}" if len(won) == 1 else ""


def _rate(study: Analysis) -> str:
    """The learning rate; where rates raced, how often each of them won."""
    rate = study.evidence.design.protocol.learning_rate
    won: dict[float, Counter[int]] = {}
    for record in study.evidence.finished:
        if record.outcome.race and record.settings.seed in study.correctness.seeds:
            winner = record.outcome.history[0].learning_rate
            won.setdefault(winner, Counter())[record.settings.freeze] += 1
    if not won:
        return words.beside(smaller.RATE, rate)
    most, *others = sorted(won, key=lambda winner: -won[winner].total())
    runs = won[most].total()
    text = f"{short_number(most)} in {runs:,} run{'' if runs == 1 else 's'}"
    for other in others:
        depths = ", ".join(map(str, sorted(won[other])))
        text += f", {short_number(other)} in {won[other].total():,} (of freeze {depths})"
    epochs = study.evidence.design.protocol.race_epochs
    after = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    rates = words.joined(map(short_number, study.evidence.design.protocol.rates), "or")
    return f"{rates}, the best after {after}: {text}"


def _best(advised: Advice) -> str:
    """The most accurate depth, and how far it is ahead of the recommended one."""
    if advised.best == advised.freeze:
        return "the recommended depth"
    behind = advised.behind_best
    return (
        f"freezing {stages(advised.best)}: {number(-behind.effect)} points "
        f"({number(-behind.high)} to {number(-behind.low)}) above freezing "
        f"{stages(advised.freeze)}, without correction for picking the highest"
    )


def _against_classical(lead: Estimate) -> str:
    """How the best model without fine-tuning compares."""
    if not lead.known:
        return "not compared"
    who = "fine-tuning" if lead.effect >= 0 else "the best classical model"
    low, high = sorted(abs(bound) for bound in (lead.low, lead.high))
    if lead.low <= 0 <= lead.high:
        return f"unclear: fine-tuning is ahead by {span(lead, sign=True)} points"
    return f"{who} is ahead by {number(abs(lead.effect))} points ({number(low)} to {number(high)})"


def _missed(study: Analysis, shares: dict[str, float]) -> str:
    """The classes that are missed most, and where a reader with two can trade them."""
    about = shown.about(study)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    listed = [
        f"{number(share, 0)} of 100 images of {about.plain(label)}"
        for label, share in ranked[:CLASSES]
    ]
    if len(ranked) > CLASSES:
        rest = [share for _, share in ranked[CLASSES:]]
        listed.append(f"{number(min(rest), 0)} to {number(max(rest), 0)} in other classes")
    if len(ranked) > 2:
        return ", ".join(listed)
    (label, _), (other, share) = ranked
    text = (
        f"{listed[0]}, which are taken for {about.plain(other)}; {number(share, 0)} of 100 images "
        f"of {about.plain(other)} are taken for {about.plain(label)}: false alarms. "
    )
    found = 100 - shares[label]
    rare = number(100 * share / (share + found), 0) if share + found else "0"
    if rare != "0":
        few, many = EXAMPLE
        text += (
            f"Of {many:,} images with {few} of {about.plain(label)}, it would find "
            f"{number(few * found / 100, 0)}, miss {number(few * shares[label] / 100, 0)} and "
            f"raise {number((many - few) * share / 100, 0)} false alarms; where fewer than {rare} "
            "of 100 are of this class, most alarms are false. "
        )
    return Markup("{}").format(text) + link(THRESHOLD, "Choose another threshold")


def _pictures(study: Analysis) -> Markup:
    """A few images of each class, so that `images of this kind` means something."""
    dataset, about = pictures(study.evidence), shown.about(study)
    if dataset is None:
        return Markup()
    look, tiles = study.evidence.design.protocol, []
    for label in np.argsort(-np.bincount(dataset.labels), kind="stable")[:CLASSES]:
        members = np.flatnonzero(dataset.labels == label)
        for index in members[np.linspace(0, len(members) - 1, PICTURES + 2).astype(int)][1:-1]:
            image = decode(dataset.images[index], SIDE, look.resize, look.background)
            tiles.append(html.tile(image, about.plain(dataset.classes[label])))
    return Markup('<div class="report-pictures">{}</div>').format(Markup().join(tiles))


def sure(advice: Advice) -> str:
    """Whether the advised depth may lose as much as matters."""
    loss = f"A loss above {number(advice.margin)} points"
    change = advice.depth.change
    if not advice.freeze and change.low > -advice.margin:
        return (
            f"Freezing {stages(advice.depth.freeze)} loses less than {number(advice.margin)} "
            "points by its interval alone, but saves no time; so freezing nothing is right"
        )
    if change.high < -advice.margin:
        which = stages(advice.depth.freeze)
        return (
            f"Freezing {which} loses more than {number(advice.margin)} points: "
            f"{number(-change.high)} to {number(-change.low)} (95 % CI)"
        )
    if change.low <= -advice.margin:
        return (
            f"Not sure: {loss[:1].lower()}{loss[1:]} cannot be ruled out at any depth, and "
            "freezing nothing is the safe choice"
        )
    if advice.p > 1 - LEVEL:
        return (
            f"Likely, not proven: on its own, the interval rules out a loss above "
            f"{number(advice.margin)} points, but after correction for the number of conclusions "
            f"of the study it does not ({_p(advice.p)}; below {number(1 - LEVEL, 2)} is needed). "
            "Where no loss may be risked, freeze nothing"
        )
    return f"{loss} is ruled out, also after correction for all conclusions ({_p(advice.p)})"


def _p(p: float) -> str:
    text = p_value(p)
    words = f"p {text}" if text.startswith("<") else f"p = {text}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def stages(count: int) -> str:
    return f"{count} stage{'' if count == 1 else 's'}" if count else "nothing"


def span(estimate: Estimate, *, sign: bool = False, margin: float = math.nan) -> str:
    """An effect with its interval, with two decimals where one hides a side of the margin."""
    effect = number(estimate.effect, sign=sign)
    if not estimate.known:
        return f"{effect} ({DASH})"
    low, high = (
        number(bound, 2 if abs(round(bound, 1)) == round(margin, 1) else 1, sign=sign)
        for bound in (estimate.low, estimate.high)
    )
    return f"{effect} ({low} to {high})"
