"""The cards of the first page, one per data set, and the words that they share with the page."""

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from effnet_core.data.images import decode
from effnet_core.study.design import SOURCE_FACTORS
from effnet_report import words
from effnet_report.evidence.pictures import pictures
from effnet_report.inference import analysis
from effnet_report.inference.advice import (
    EITHER,
    FEWEST,
    Advice,
    advise,
    saved_without_keeping,
)
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import LEVEL, Estimate
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages import shown
from effnet_report.render import html
from effnet_report.render.html import link

PICTURES, SIDE = 2, 72  # of each class, and pixels
RECIPE = ("norm_statistics", "learning_rate", "augment", "head", "scheduler")
THRESHOLD = "tutorial.html#choose-a-threshold"
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
    yield "What to do", Markup("<br>").join(_recipe(study, advised))
    of_images = ", for other images" if len(study.correctness.seeds) < FEWEST else ""
    yield study.evidence.metric.capitalize(), f"{span(advised.accuracy)} %{of_images}"
    yield "How sure", f"{sure(advised)}."
    yield f"Highest {advised.metric}", _best(advised)
    yield "Saves", _saves(study, advised)
    yield "Misses", _missed(study, advised.missed)
    yield "Against classical models", _against_classical(study.over_classical)
    yield "Evidence", _evidence(study)


def _evidence(study: Analysis) -> str:
    """How many runs stand behind a card, of what."""
    runs, facts = len(study.evidence.finished), study.evidence.facts
    of = len(analysis.load(study.evidence.reference).evidence.finished)
    chosen = (
        f"{runs:,} of {of:,} runs, those with the best recipe" if of > runs else f"{runs:,} runs"
    )
    trained = f", each trained on {facts.train_images:,}" if facts else ""
    return (
        f"{chosen} ({len(study.evidence.configurations)} configurations, "
        f"{len(study.correctness.seeds)} seeds), tested on {study.correctness.images:,} images"
        f"{trained}, of {study.evidence.design.protocol.image_size} px"
    )


def _saves(study: Analysis, advised: Advice) -> str:
    """What the advised depth saves, or what freezing would save where nothing is to be frozen."""
    depth = advised.depth
    without = number(saved_without_keeping(study, depth.freeze), 0)
    time = (
        f"{number(depth.time.effect, 0)} % of the time per epoch if the output of the frozen "
        f"stages is kept on disk, about {without} % if not"
    )
    if advised.freeze:
        return time
    points = f"{span(depth.change, sign=True)} points"
    deeper = stages(depth.freeze)
    return f"nothing; freezing {deeper} would save {time}, and change {advised.metric} by {points}"


def _recipe(study: Analysis, advised: Advice) -> Iterator[str]:
    """What to set, the depth first."""
    protocol = study.evidence.design.protocol
    of = study.recommendation.stages
    yield f"freeze {f'{advised.freeze} of {of} stages' if advised.freeze else 'nothing'}"
    # A study that does not compare the source's heads and schedules does not speak of them.
    compared = shown.factors_of(study)
    names = [name for name in RECIPE if name not in SOURCE_FACTORS or name in compared]
    fixed = {name: getattr(protocol, name) for name in names}
    for name, level in (fixed | advised.choices).items():
        either = level == EITHER
        chosen = "either, no clear difference" if either else words.beside(name, level)
        yield f"{words.factor(name)}: {chosen}"


def _best(advised: Advice) -> str:
    """The most accurate depth, and how far it is ahead of the recommended one."""
    if advised.best == advised.freeze:
        return "the recommended depth"
    behind = advised.behind_best
    return (
        f"freezing {stages(advised.best)}, by {number(-behind.effect)} points "
        f"({number(-behind.high)} to {number(-behind.low)})"
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
        f"{number(share, 0)} of 100 in the class {about.plain(label)}"
        for label, share in ranked[:CLASSES]
    ]
    if len(ranked) > CLASSES:
        rest = [share for _, share in ranked[CLASSES:]]
        listed.append(f"{number(min(rest), 0)} to {number(max(rest), 0)} in other classes")
    words = Markup(", ").join(listed)
    if len(ranked) > 2:
        return words
    return words + Markup(". ") + link(THRESHOLD, "Choose another threshold")


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
    if change.high < -advice.margin:
        which = stages(advice.depth.freeze)
        return (
            f"Freezing {which} loses more than {number(advice.margin)} points: "
            f"{number(-change.high)} to {number(-change.low)} (95 % CI)"
        )
    if change.low <= -advice.margin:
        return f"{loss} cannot be ruled out at any depth, so freeze nothing"
    if advice.p > 1 - LEVEL:
        return (
            f"{loss} is ruled out by this interval alone; after correction for all conclusions it "
            f"no longer is ({_p(advice.p)})"
        )
    return f"{loss} is ruled out, also after correction for all conclusions ({_p(advice.p)})"


def _p(p: float) -> str:
    text = p_value(p)
    words = f"p {text}" if text.startswith("<") else f"p = {text}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def stages(count: int) -> str:
    return f"{count} stage{'' if count == 1 else 's'}" if count else "nothing"


def span(estimate: Estimate, decimals: int = 1, *, sign: bool = False) -> str:
    effect = number(estimate.effect, decimals, sign=sign)
    if not estimate.known:
        return f"{effect} ({DASH})"
    low, high = (number(bound, decimals, sign=sign) for bound in (estimate.low, estimate.high))
    return f"{effect} ({low} to {high})"
