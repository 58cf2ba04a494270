"""The first page: what to do on each data set, how good it is, what it costs and what it misses."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.data.images import decode
from effnet_core.study.design import SOURCE_FACTORS
from effnet_report import words
from effnet_report.evidence.pictures import pictures
from effnet_report.inference import analysis, recipes
from effnet_report.inference.advice import (
    EITHER,
    FEWEST,
    Advice,
    accuracy,
    advise,
    missed,
    saved_without_keeping,
)
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import LEVEL, Estimate
from effnet_report.numbers import DASH, number, p_value
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import BAND, INK, canvas, depth_colour, plain, sentences
from effnet_report.render.html import finding, link, listing, paragraph

PICTURES, SIDE = 2, 72  # of each class, and pixels
RECIPE = ("norm_statistics", "learning_rate", "augment", "head", "scheduler")
THRESHOLD = "tutorial.html#choose-a-threshold"
CLASSES = 4  # of which pictures and missed shares are shown


def studies() -> list[Analysis]:
    """The studies that advise, one per data set, that of the main study first."""
    return shown.advising()


def answer(studies: list[Analysis]) -> HTML:
    """What to do; where the data sets disagree, that first."""
    main = studies[0]
    if not main.evidence.finished:
        return nothing_yet(main.evidence)
    advised = _advised(studies)
    return finding(*_headline(main, advised), *coverage(main.evidence), key=_key(advised))


def _advised(studies: list[Analysis]) -> list[tuple[Analysis, Advice]]:
    """The studies that have an advice, with it."""
    return [(study, advice) for study in studies if (advice := advise(study))]


def _key(advised: list[tuple[Analysis, Advice]]) -> str:
    depths = {advice.freeze for _, advice in advised}
    if len(advised) < 2:
        return f"advice:{'none' if not advised else 'one'}"
    return f"advice:{'agree' if len(depths) == 1 else 'disagree'}"


def _headline(main: Analysis, advised: list[tuple[Analysis, Advice]]) -> Iterator[str]:
    if not advised:
        yield from main.recommendation.sentences
        return
    if len({advice.freeze for _, advice in advised}) > 1:
        listed = [f"{_stages(one.freeze)} on {shown.about(study).name}" for study, one in advised]
        yield f"The recommended depth depends on the images: freeze {' and '.join(listed)}."
    elif len(advised) > 1:
        yield f"Freeze {_stages(advised[0][1].freeze)}: all data sets agree."
    for study, advice in advised:
        yield from _sentences(study, advice)


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
    first = "" if advice.freeze else "freeze nothing: "
    interval = f"95 % CI {number(low)} to {number(high)}"
    yield f"On {name}, {first}freezing {_stages(advice.depth.freeze)} {effect} ({interval})."
    if change.low <= 0 <= change.high:
        yield f"{_sure(advice)}."
    lead = study.over_classical
    if lead.known and lead.high < 0:
        yield (
            f"Without fine-tuning, the best classical model is {number(-lead.effect)} points ahead "
            f"of the best fine-tuned network on {name}."
        )


def _sure(advice: Advice) -> str:
    """Whether the advised depth may lose as much as matters."""
    loss = f"A loss above {number(advice.margin)} points"
    change = advice.depth.change
    if change.high < -advice.margin:
        which = _stages(advice.depth.freeze)
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


def _stages(count: int) -> str:
    return f"{count} stage{'' if count == 1 else 's'}" if count else "nothing"


def advice(studies: list[Analysis]) -> HTML:
    """A card per data set: the recipe, its accuracy, what it saves, what it misses, its images."""
    cards = Markup().join(_card(study) for study in studies if study.evidence.finished)
    return HTML(Markup('<div class="report-cards">{}</div>').format(cards))


def _card(study: Analysis) -> Markup:
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
    yield study.evidence.metric.capitalize(), f"{_span(advised.accuracy)} %{of_images}"
    yield "How sure", f"{_sure(advised)}."
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
    points = f"{_span(depth.change, sign=True)} points"
    stages = _stages(depth.freeze)
    return f"nothing; freezing {stages} would save {time}, and change {advised.metric} by {points}"


def _p(p: float) -> str:
    text = p_value(p)
    words = f"p {text}" if text.startswith("<") else f"p = {text}"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _recipe(study: Analysis, advised: Advice) -> Iterator[str]:
    """What to set, the depth first."""
    protocol = study.evidence.design.protocol
    stages = study.recommendation.stages
    yield f"freeze {f'{advised.freeze} of {stages} stages' if advised.freeze else 'nothing'}"
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
        f"freezing {_stages(advised.best)}, by {number(-behind.effect)} points "
        f"({number(-behind.high)} to {number(-behind.low)})"
    )


def _against_classical(lead: Estimate) -> str:
    """How the best model without fine-tuning compares."""
    if not lead.known:
        return "not compared"
    who = "fine-tuning" if lead.effect >= 0 else "the best classical model"
    low, high = sorted(abs(bound) for bound in (lead.low, lead.high))
    if lead.low <= 0 <= lead.high:
        return f"unclear: fine-tuning is ahead by {_span(lead, sign=True)} points"
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


def _span(estimate: Estimate, decimals: int = 1, *, sign: bool = False) -> str:
    effect = number(estimate.effect, decimals, sign=sign)
    if not estimate.known:
        return f"{effect} ({DASH})"
    low, high = (number(bound, decimals, sign=sign) for bound in (estimate.low, estimate.high))
    return f"{effect} ({low} to {high})"


def by_depth(studies: list[Analysis]) -> pd.DataFrame:
    """One row per data set and depth: accuracy, its change with interval, and time per epoch."""
    rows = []
    for study in studies:
        if not (study.depths and study.correctness.seeds):
            continue
        means = study.evidence.runs.groupby("freeze")[["accuracy", "epoch_seconds"]].mean()
        advised = advise(study)
        name = shown.about(study).name
        none = float(means.loc[0, "accuracy"])
        for freeze, depth in [(0, None), *((d.freeze, d) for d in study.depths)]:
            rows.append(
                {
                    "images": name,
                    "freeze": freeze,
                    "accuracy": means.loc[freeze, "accuracy"],
                    "low": none + depth.change.low if depth else np.nan,
                    "high": none + depth.change.high if depth else np.nan,
                    "epoch_seconds": means.loc[freeze, "epoch_seconds"],
                    "least_allowed": none - study.margin,
                    "recommended": bool(advised and advised.freeze == freeze),
                }
            )
    return pd.DataFrame(rows)


def trade_off(studies: list[Analysis]) -> HTML:
    """Accuracy against training time, one point per depth."""
    data = by_depth(studies)
    if data.empty:
        return paragraph(["No depth can be compared with freezing nothing yet."])
    names = list(data["images"].unique())
    figure = canvas(3.6 * max(2, len(names)), 3.9)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        points = data[data["images"] == name]
        axes.axhspan(points["least_allowed"].iloc[0], points.iloc[0].accuracy, color=BAND, zorder=0)
        for row in points.itertuples():
            colour = depth_colour(row.freeze)
            side = 1 if row.freeze % 2 else -1  # neighbours in time write on different sides
            axes.vlines(row.epoch_seconds, row.low, row.high, color=colour, linewidth=2)
            axes.plot(
                row.epoch_seconds, row.accuracy, "*" if row.recommended else "o", color=colour,
                markersize=15 if row.recommended else 7, markeredgecolor=INK, markeredgewidth=0.5,
            )  # fmt: skip
            axes.annotate(
                str(row.freeze), (row.epoch_seconds, row.accuracy), xytext=(8 * side, 5),
                textcoords="offset points", ha="left" if side > 0 else "right", weight="bold",
            )  # fmt: skip
        axes.set_title(plain(name), loc="left", fontsize=11)
        axes.set_xlabel("CPU time per epoch, s")
        axes.set_xlim(0, 1.12 * points["epoch_seconds"].max())
        axes.margins(y=0.12)
    panels[0].set_ylabel(f"test {studies[0].evidence.metric}, %")
    framed = html.figure(
        figure,
        "trade-off",
        key=f"trade-off:{len(names)}",
        finding=_trade_off_title(data, studies[0].evidence.metric),
        caption=(
            "Each number counts the frozen stages of its point, the star is the recommended depth, "
            "and bars are 95 % intervals of the change against freezing nothing, for all depths at "
            "once. A depth whose whole bar lies in the band or above it loses too little to matter."
        ),
        alt=sentences(
            data, "{images}, freeze {freeze}: {accuracy:.1f} % in {epoch_seconds:.0f} s per epoch"
        ),
        data=data,
    )
    figure.suptitle("How many stages to freeze?", weight="bold")
    html.preview(figure)
    return framed


def _trade_off_title(data: pd.DataFrame, metric: str) -> str:
    """What the recommended depth reaches, and in how much of the time."""
    parts = []
    for name, points in data.groupby("images", sort=False):
        none, best = points.iloc[0], points.loc[points["accuracy"].idxmax()]
        part = f"on {name}, freezing {_stages(best.freeze)} gives the highest {metric}"
        for advised in points[points["recommended"] & (points["freeze"] > 0)].itertuples():
            share = 100 * advised.epoch_seconds / none.epoch_seconds
            part = (
                f"on {name}, freezing {_stages(advised.freeze)} reaches "
                f"{number(advised.accuracy)} % in {number(share, 0)} % of the time of freezing "
                f"nothing, which reaches {number(none.accuracy)} %"
            )
        parts.append(part)
    title = "; ".join(parts)
    return title[:1].upper() + title[1:] + "."


def depths(studies: list[Analysis]) -> HTML:
    """Every depth on every data set: what it changes, saves and misses."""
    rows, data = [], by_depth(studies)
    if data.empty:
        return paragraph([])
    for study in studies:
        about = shown.about(study)
        for depth in study.depths:
            lost = missed(study, depth.freeze)
            without = saved_without_keeping(study, depth.freeze)
            worst = max(lost, key=lambda label: lost[label])
            reached = accuracy(study, depth.freeze).effect
            rows.append(
                {
                    "images": about.name,
                    "frozen stages": depth.freeze,
                    f"{study.evidence.metric}, %": number(reached),
                    "change, points": _span(depth.change, sign=True),
                    "time saved, outputs kept, %": number(depth.time.effect, 0),
                    "time saved, not kept, %": number(without, 0),
                    "most missed class": f"{about.plain(worst)}, {number(lost[worst], 0)} %",
                }
            )
    frame = pd.DataFrame(rows)
    if frame["images"].nunique() == 1:
        frame = frame.drop(columns="images")
    safe = sum(depth.change.low > -study.margin for study in studies for depth in study.depths)
    return html.table(
        frame,
        "saves-and-risks",
        key=f"noninferior:{safe}",
        finding=f"A loss above {number(studies[0].margin)} points is ruled out at {safe} of "
        f"{len(frame)} depths.",
        caption=(
            "Changes against freezing nothing, with 95 % intervals for other trainings and other "
            "images. CPU time per epoch is measured where the output of the frozen stages is kept "
            "on disk, and computed from the arithmetic where it is not."
        ),
        data=data,
    )


def limits(studies: list[Analysis]) -> HTML:
    """What the advice does not cover, in a few lines."""
    main = studies[0]
    if not main.evidence.finished:
        return paragraph([])
    protocol, advised = main.evidence.design.protocol, _advised(studies)
    if not advised:
        return listing({"covers": "The study is too small for advice."})
    on_validation = [
        f"{_stages(advice.on_validation)} on {shown.about(study).name}" for study, advice in advised
    ]
    return listing(
        {
            "covers": Markup(
                "It holds for the network <code>{}</code>, at the image sizes on the cards, and "
                "for images of these kinds. Another network or other images need a study of their "
                "own."
            ).format(protocol.backbone),
            "recipe": _other_recipes(studies),
            **dict(_contrary(advised)),
            "selected": "The depths were chosen by the test intervals shown here, which flatters "
            "them a little. Validation images alone would freeze "
            f"{' and '.join(on_validation)}.",
        }
    )


def _contrary(advised: list[tuple[Analysis, Advice]]) -> Iterator[tuple[str, str]]:
    """Studies of the same images, with another recipe, that show the opposite."""
    for study, advice in advised:
        for other in shown.on_the_same_images(study):
            freeze, change = max(other.noninferiority.changes.items(), default=(0, None))
            if change is None or (change.low <= 0 if advice.freeze == 0 else change.high >= 0):
                continue
            yield (
                f"contrary:{other.evidence.design.name}",
                f"The study {shown.title(other)} shows the opposite on the same images: with its "
                f"recipe, freezing {_stages(freeze)} changed {advice.metric} by "
                f"{_span(change, sign=True)} points.",
            )


def _other_recipes(studies: list[Analysis]) -> str:
    """Whether the advice survives another recipe, if a study of the book compares any."""
    compared = [study for study in shown.recipes() if study.correctness.seeds]
    with_recipes = [study.evidence.reference for study in compared]
    untried = [
        shown.about(study).name for study in studies if study.evidence.reference not in with_recipes
    ]
    page = Markup('<a href="recipe.html">Does the recipe matter?</a>')
    if not compared:
        return Markup(
            "It was tested with one recipe per data set; with another one, freezing may help more, "
            "or do harm. {}"
        ).format(page)
    study = recipes.tuned(compared[0])
    table = recipes.by_recipe(study)
    deepest = table[table["freeze"] == table["freeze"].max()].sort_values("effect")
    least, most = deepest.iloc[0], deepest.iloc[-1]
    return Markup(
        "{}: freezing {} stages changed {} by {} points ({} to {}) with {}, and by {} points "
        "({} to {}) with {}; these 95 % intervals hold for all recipes at once.{} {}"
    ).format(
        "It depends on the recipe" if recipes.turns(table) == "turns" else "Recipes compared",
        *(most.freeze, study.evidence.metric),
        *(number(most.effect, sign=True), number(most.low), number(most.high), most.recipe),
        *(number(least.effect, sign=True), number(least.low), number(least.high), least.recipe),
        f" On {' and '.join(untried)} no other recipe was tried." if untried else "",
        page,
    )


def commands(studies: list[Analysis]) -> HTML:
    """How to repeat this study."""
    design = studies[0].evidence.design
    name = design.name
    return listing(
        {
            command: Markup("<code>{}</code> {}").format(command, what)
            for command, what in (
                (
                    "effnet new mine --images FOLDER",
                    "begins a study of your own photos; effnet sweep mine trains it.",
                ),
                ("effnet sweep " + name, "trains the runs that have no record yet."),
                (f"EFFNET_STUDY={name} jupyter-book build book", "builds this report from them."),
                (f"papermill notebooks/train.ipynb -p study {name}", "trains one run."),
            )
        }
    )
