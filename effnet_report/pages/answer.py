"""The first page: what to do on each data set, how good it is, what it costs and what it misses."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_report.inference import outliers, recipes
from effnet_report.inference.advice import (
    Advice,
    accuracy,
    advise,
    complete,
    missed,
    saved_without_keeping,
)
from effnet_report.inference.analysis import Analysis
from effnet_report.measurements.photos import Photos
from effnet_report.numbers import DASH, duration, number
from effnet_report.pages import results, shown
from effnet_report.pages.answer_cards import card, one_recipe, span, stages
from effnet_report.pages.answer_words import any_of, opening
from effnet_report.pages.gaps import coverage, nothing_yet
from effnet_report.render import html
from effnet_report.render.drawing import BAND, INK, canvas, depth_colour, plain, sentences
from effnet_report.render.html import apart, finding, link, listing, paragraph
from effnet_report.words import joined

CHANGED = (
    "change, points",
    "change on validation, points",
    "time saved, outputs kept / not kept, %",
)


def studies() -> list[Analysis]:
    """The studies that advise, one per data set; the main one is first, whatever it has so far."""
    main, advising = shown.main(), shown.advising()
    return advising if main.correctness.seeds else [main, *advising]


def answer(studies: list[Analysis]) -> HTML:
    """What to do; where the data sets disagree, that first."""
    main = studies[0]
    if not main.evidence.finished:
        return nothing_yet(main.evidence)
    advised = _advised(studies)
    lines = [*opening(main, advised), *apart(coverage(main.evidence))]
    return finding(*lines, key=_key(advised))


def _advised(studies: list[Analysis]) -> list[tuple[Analysis, Advice]]:
    """The studies that have an advice, with it."""
    return [(study, advice) for study in studies if (advice := advise(study))]


def _key(advised: list[tuple[Analysis, Advice]]) -> str:
    depths = {advice.freeze for _, advice in advised}
    if len(advised) < 2:
        return f"advice:{'none' if not advised else 'one'}"
    return f"advice:{'agree' if len(depths) == 1 else 'disagree'}"


def advice(studies: list[Analysis]) -> HTML:
    """A card per data set: the recipe, its accuracy, what it saves, what it misses, its images."""
    cards = Markup().join(card(study) for study in studies if study.evidence.finished)
    return HTML(Markup('<div class="report-cards">{}</div>').format(cards))


def by_depth(studies: list[Analysis]) -> pd.DataFrame:
    """One row per data set and depth: accuracy, its change with interval, and time per epoch."""
    rows = []
    for study in _with_depths(studies):
        means = complete(study).groupby("freeze")[["accuracy", "epoch_seconds"]].mean()
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


def _with_depths(studies: list[Analysis]) -> list[Analysis]:
    """The studies that can compare depths already."""
    return [study for study in studies if study.depths and study.correctness.seeds]


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
            axes.vlines(row.epoch_seconds, row.low, row.high, color=colour, linewidth=2)
            axes.plot(
                row.epoch_seconds, row.accuracy, "*" if row.recommended else "o", color=colour,
                markersize=15 if row.recommended else 7, markeredgecolor=INK, markeredgewidth=0.5,
            )  # fmt: skip
            # Above its bar; freezing nothing has none and takes longest, so the right is free.
            (at, offset) = (row.high, (-4, 4)) if row.high > 0 else (row.accuracy, (9, -5))
            axes.annotate(
                str(row.freeze), (row.epoch_seconds, at), xytext=offset,
                textcoords="offset points", weight="bold",
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
        caption=_trade_off_caption(data),
        alt=sentences(
            data, "{images}, freeze {freeze}: {accuracy:.1f} % in {epoch_seconds:.0f} s per epoch"
        ),
        data=data,
    )
    figure.suptitle("How many stages to freeze?", weight="bold")
    html.preview(figure)
    return framed


def _trade_off_caption(data: pd.DataFrame) -> str:
    """How to read the figure; without intervals there is less in it."""
    if data["low"].isna().all():
        return "Each number counts the frozen stages of its point."
    return (
        "Each number counts the frozen stages of its point, the star is the recommended depth, and "
        "bars are 95 % intervals of the change against freezing nothing, for all depths at once. A "
        "depth whose whole bar lies in the grey band or above it loses less than the margin."
    )


def _trade_off_title(data: pd.DataFrame, metric: str) -> str:
    """What the recommended depth reaches, and in how much of the time."""
    parts = []
    for name, points in data.groupby("images", sort=False):
        none, best = points.iloc[0], points.loc[points["accuracy"].idxmax()]
        alone = points["low"].isna().all()
        why = "one seed cannot tell them apart" if alone else "too close to tell apart"
        part = (
            f"on {name}, the means lie between {number(points['accuracy'].min())} and "
            f"{number(best.accuracy)} %, {why}"
        )
        if not (harmful := points[points["high"] < none.accuracy]).empty:
            part = f"on {name}, freezing {any_of(harmful['freeze'])} clearly lowers {metric}"
        if (points["low"] > none.accuracy).any():
            part = f"on {name}, freezing {stages(best.freeze)} gives the highest {metric}"
        for advised in points[points["recommended"] & (points["freeze"] > 0)].itertuples():
            share = 100 * advised.epoch_seconds / none.epoch_seconds
            part = (
                f"on {name}, freezing {stages(advised.freeze)} reaches "
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
    for study in _with_depths(studies):
        about = shown.about(study)
        validated = complete(study).groupby("freeze")["validation"].mean()
        for freeze, depth in [(0, None), *((depth.freeze, depth) for depth in study.depths)]:
            lost = missed(study, freeze)
            worst = max(lost, key=lambda label: lost[label])
            changed = [DASH] * 3
            if depth:
                without = number(saved_without_keeping(study, freeze), 0)
                changed = [
                    span(depth.change, sign=True, margin=study.margin),
                    number(validated[freeze] - validated[0], sign=True),
                    f"{number(depth.time.effect, 0)} / {without}",
                ]
            rows.append(
                {
                    "images": about.name,
                    "frozen stages": freeze,
                    f"{study.evidence.metric}, %": number(accuracy(study, freeze).effect),
                    **dict(zip(CHANGED, changed, strict=True)),
                    "most missed": f"{about.plain(worst)}, {number(lost[worst], 0)} %",
                }
            )
    frame = pd.DataFrame(rows)
    if frame["images"].nunique() == 1:
        frame = frame.drop(columns="images")
    safe = [
        depth.change.low > -study.margin
        for study in _with_depths(studies)
        for depth in study.depths
    ]
    return html.table(
        frame,
        "saves-and-risks",
        key=f"noninferior:{sum(safe)}",
        finding=f"A loss above {number(studies[0].margin)} points is ruled out at {sum(safe)} of "
        f"{len(safe)} depths, before correction for all conclusions.",
        caption=(
            "Values are means over all other choices, and changes are relative to freezing "
            "nothing, with 95 % intervals for other trainings and other images, for all depths of "
            "a data set at once. Time saved is CPU time per epoch: measured with the outputs of "
            "the frozen stages kept on disk, which is possible only without random augmentation, "
            "and then estimated from the number of operations without keeping them."
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
        f"{stages(advice.on_validation)} on {shown.about(study).name}" for study, advice in advised
    ]
    neighbours = chain.from_iterable(map(shown.neighbours, studies))
    return listing(
        {
            "covers": Markup(
                "It holds for the network <code>{}</code>, at the image sizes on the cards, and "
                "for images of these kinds. Another network or other images need a study of their "
                "own; until then, train all stages."
            ).format(protocol.backbone),
            **{f"neighbours-{place}": text for place, text in enumerate(neighbours)},
            **dict(_far_below(studies)),
            "recipe": _other_recipes(studies),
            **dict(_contrary(advised)),
            "selected": "The recommended depth is chosen by intervals of the test images, which "
            "flatters its accuracy. By the highest mean on validation images, over all "
            f"other choices, one would freeze {joined(on_validation)}.",
        }
    )


def _far_below(studies: list[Analysis]) -> Iterator[tuple[str, str]]:
    """Runs that failed, and what they do to the depths of their data set."""
    for study in studies:
        runs = complete(study)
        odd = outliers.far_below(runs)
        if effects := [*results.without(study, odd, study.margin)]:
            yield (
                f"far-below:{study.evidence.design.name}",
                f"On {shown.about(study).name}, {results.counted(odd, runs)}. {' '.join(effects)}",
            )


def _contrary(advised: list[tuple[Analysis, Advice]]) -> Iterator[tuple[str, str]]:
    """Studies of the same images, with another recipe, that show the opposite."""
    for study, advice in advised:
        for other in shown.on_the_same_images(study):
            freeze, change = max(other.noninferiority.changes.items(), default=(0, None))
            if change is None or not (change.low > 0 if advice.freeze == 0 else change.high < 0):
                continue  # of one seed there is no interval, so nothing is shown
            worse = ""
            if recipes.comparable([study, other]):
                gain = recipes.gain([study, other], 0)
                worse = (
                    " With nothing frozen, the recipe of the card instead of its own changed "
                    f"{advice.metric} by {span(gain, sign=True)} points."
                )
            yield (
                f"contrary:{other.evidence.design.name}",
                f"The study “{shown.title(other)}” comes to another conclusion on the same images: "
                f"with its recipe, freezing {stages(freeze)} changed {advice.metric} by "
                f"{span(change, sign=True)} points.{worse}",
            )


def _other_recipes(studies: list[Analysis]) -> str:
    """Whether the advice survives another recipe, if a study of the book compares any."""
    compared = [study for study in shown.recipes() if study.correctness.seeds]
    untried = [
        shown.about(study).name for study in studies if one_recipe(study) and not shown.begun(study)
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
        "{}: in the study “{}” ({} seeds, {} px), freezing {} stages changed {} by {} points ({} "
        "to {}) with {}, and by {} points ({} to {}) with {}; these 95 % intervals hold for all "
        "its recipes at once.{} {}"
    ).format(
        "It depends on the recipe" if recipes.turns(table) == "turns" else "Recipes compared",
        *(shown.title(compared[0]), len(study.correctness.seeds)),
        *(study.evidence.design.protocol.image_size, most.freeze, study.evidence.metric),
        *(number(most.effect, sign=True), number(most.low), number(most.high), most.recipe),
        *(number(least.effect, sign=True), number(least.low), number(least.high), least.recipe),
        f" On {joined(untried)} no other recipe was tried." if untried else "",
        page,
    )


def commands(studies: list[Analysis]) -> HTML:
    """What to type for photos of one's own, and to repeat the main study."""
    name = studies[0].evidence.design.name
    own = {
        "effnet new mine --images FOLDER --hours 3": "begins a study of your own photos, for which "
        "you choose a name such as mine.",
        "effnet sweep mine": f"trains it and keeps its best model{_hours()}.",
        "effnet predict mine PHOTOS": "names the class of new photos.",
    }
    again = {
        f"effnet sweep {name}": "trains the runs that have no record yet.",
        f"EFFNET_STUDY={name} jupyter-book build book": "builds such a report from your own runs.",
        f"papermill notebooks/train.ipynb -p study {name}": "trains one run.",
    }
    install = Markup("On your own photos, after {}:").format(link("tutorial.html", "installing"))
    return HTML(
        Markup("<p>{}</p>{}<p>To repeat the study of {}:</p>{}").format(
            install, _typed(own), shown.about(studies[0]).name, _typed(again)
        )
    )


def _typed(lines: dict[str, str]) -> Markup:
    """Commands, each with what it does."""
    written = Markup("<code>{}</code> {}").format
    return Markup(listing({line: written(line, what) for line, what in lines.items()}).data)


def _hours() -> str:
    """How long a study of some photos takes, if that was computed."""
    if (photos := Photos.load()) is None:
        return ""
    usual = photos.usual
    return (
        f". This takes {duration(3600 * usual.hours)} for {usual.photos:,} photos on "
        f"{usual.jobs} cores of a CPU"
    )
