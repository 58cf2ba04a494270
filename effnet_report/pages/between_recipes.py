"""What another recipe changes: studies of the same images, compared on the page of recipes.

Everywhere here, `groups` are lists of such studies, one list per data set, as `groups` gives them.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_report import words
from effnet_report.inference import recipes
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import Estimate
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.answer_cards import stages
from effnet_report.pages.answer_words import any_of
from effnet_report.render import html
from effnet_report.render.drawing import BAND, INK, MARKERS, SERIES, canvas, legend, sentences
from effnet_report.words import joined

TURNS = "So the recipe decides whether freezing helps: the main conclusion turns around."
CHANGE = "change by freezing, points"


def groups() -> list[list[Analysis]]:
    """Per data set, studies that differ in their recipe; see `shown.with_other_recipes`."""
    return [group for study in shown.data_sets() if (group := shown.with_other_recipes(study))]


def opening(groups: Sequence[list[Analysis]]) -> Iterator[str]:
    """Whether what freezing does depends on the recipe, then by how much on each data set."""
    pairs = {shown.about(group[0]).name: recipes.ends(group) for group in groups}
    by_images = {name: recipes.difference(pair, deepest(pair)) for name, pair in pairs.items()}
    clear = [name for name, change in by_images.items() if not change.low <= 0 <= change.high]
    if not clear:
        yield "We cannot tell whether the effect of freezing differs between recipes."
    elif len(clear) == len(by_images):
        yield "The effect of freezing differs between whole recipes."
    else:
        yield (
            f"The effect of freezing differs between whole recipes on {joined(clear)}; on "
            f"{joined([name for name in by_images if name not in clear])} we cannot tell."
        )
    for name, pair in pairs.items():
        yield from html.apart(_of_one(name, pair))


def _of_one(name: str, pair: list[Analysis]) -> Iterator[str]:
    """What freezing changes with two recipes on one data set, and what the recipe changes."""
    table, depth, metric = recipes.by_study(pair), deepest(pair), pair[0].evidence.metric
    first, last = (line for _, line in table[table["freeze"] == depth].iterrows())
    difference, gain, other = recipes.difference(pair, depth), recipes.gain(pair, 0), _other(pair)
    yield (
        f"On {name}, freezing {stages(depth)} changes {metric} by "
        f"{number(first.effect, sign=True)} points with {_called(pair[0])} and by "
        f"{number(last.effect, sign=True)} points with {other}: "
        f"{estimated(difference, sign=False)} apart."
    )
    if recipes.turns(table) == "turns":
        yield TURNS
    elif difference.low <= 0 <= difference.high:
        yield "That difference may be chance."
    yield (
        f"Where nothing is frozen, {metric} is {estimated(gain, sign=False)} "
        f"{'lower' if gain.effect < 0 else 'higher'} with {_called(pair[0])}."
    )
    raised = table[(table["recipe"] == last.recipe) & (table["low"] > 0)]
    if not raised.empty:
        most = raised.loc[raised["effect"].idxmax()]
        yield (
            f"With {other}, freezing {any_of(raised['freeze'])} raises {metric}, by up to "
            f"{estimated(most, sign=False)}."
        )
    if differences := _differences(pair):
        yield (
            f"The two studies also differ in {joined(differences)}. Which difference is "
            "responsible cannot be separated."
        )


def _other(pair: list[Analysis]) -> str:
    """What to call the recipe of the second study."""
    if recipes.is_like_the_source(pair[1]):
        return "a recipe like the source's"
    return f"the recipe with {recipes.differences(pair)[1]}"


def _called(study: Analysis) -> str:
    """What to call the recipe of a study that is least like the source's."""
    advising = {other.evidence.reference for other in shown.advising()}
    return f"the recipe {'of the first page' if study.evidence.reference in advising else 'tried'}"


def deepest(studies: list[Analysis]) -> int:
    """The most stages that the studies freeze."""
    return max(studies[0].noninferiority.changes)


def estimated(change: Estimate | pd.Series, *, sign: bool = True) -> str:
    """A change with its interval; without sign, how large it is."""
    effect, low, high = change.effect, change.low, change.high
    if not sign and effect < 0:
        effect, low, high = -effect, -high, -low
    return f"{number(effect, sign=sign)} points (95 % CI {number(low)} to {number(high)})"


def both_ways(groups: Sequence[list[Analysis]]) -> HTML:
    """Accuracy with nothing and with most frozen at each recipe, and the differences."""
    if not groups:
        return html.paragraph([])
    pairs = [recipes.ends(group) for group in groups]
    depths = sorted({deepest(pair) for pair in pairs})
    none, most = "nothing frozen, %", f"{joined(depths, 'or')} stages frozen, %"
    rows = [row for pair in pairs for row in _rows(pair, none, most)]
    gains = [
        f"{number(recipes.gain(pair, 0).effect, sign=True)} points on {shown.about(pair[0]).name}"
        for pair in pairs
    ]
    metric = groups[0][0].evidence.metric
    return html.table(
        pd.DataFrame(rows),
        "both-recipes",
        key=f"recipes:{len(rows)}",
        finding=f"Where nothing is frozen, the recipe changes {metric} by {joined(gains)}.",
        caption=f"Mean test {metric} in the seeds that both studies of the same images have; the "
        "95 % intervals of single recipes hold for all depths of both at once, those of a "
        "difference for it alone. A difference is that of both protocols as a whole, with all in "
        "which they differ.",
    )


def _rows(pair: list[Analysis], none: str, most: str) -> Iterator[dict[str, str]]:
    """Two recipes of one data set and their difference."""
    depth, name = deepest(pair), shown.about(pair[0]).name
    seeds = recipes.common_seeds(pair)
    table = recipes.by_study(pair).query(f"freeze == {depth}").set_index("recipe")
    for study, recipe in zip(pair, recipes.differences(pair), strict=True):
        runs = study.evidence.runs
        means = runs[runs["seed"].isin(seeds)].groupby("freeze")["accuracy"].mean()
        yield {
            "images": name,
            "recipe": recipe,
            none: number(means[0]),
            most: number(means[depth]),
            CHANGE: _spanned(table.loc[recipe]),
        }
    yield {
        "images": name,
        "recipe": "first minus second",
        none: _spanned(recipes.gain(pair, 0)),
        most: _spanned(recipes.gain(pair, depth)),
        CHANGE: _spanned(recipes.difference(pair, depth)),
    }


def _spanned(change: Estimate | pd.Series) -> str:
    low, high = number(change.low, sign=True), number(change.high, sign=True)
    return f"{number(change.effect, sign=True)} ({low} to {high})"


def figures(groups: Sequence[list[Analysis]]) -> HTML:
    """Change of accuracy against all depths, one line per study, one figure per data set."""
    drawn = []
    for place, group in enumerate(groups):
        name, seeds = shown.about(group[0]).name, len(recipes.common_seeds(group))
        differences = _differences(group)
        differing = f", which also differ in {joined(differences)}" if differences else ""
        figure = effects(
            recipes.by_study(group),
            group[0],
            f"effect-by-study-{place}" if place else "effect-by-study",
            f"Each line is a study of {name}, with {seeds} seeds{differing}. The 95 % intervals "
            "of the changes hold for all depths of all lines at once; a change inside the grey "
            "band is too small to matter.",
            about=f"On {name}, with",
        )
        drawn.append(figure.data)
    return HTML(Markup().join(drawn))


def _differences(studies: list[Analysis]) -> list[str]:
    """What else differs between studies, beside the recipe that names their lines."""
    protocols = [study.evidence.design.protocol for study in studies]
    return [
        f"{words.factor(name)} ({joined(words.level(name, getattr(p, name)) for p in protocols)})"
        for name in recipes.other_settings(studies)
    ]


def effects(
    table: pd.DataFrame, study: Analysis, name: str, caption: str, *, about: str = "With"
) -> HTML:
    """Change of accuracy against depth, one line per recipe of a table.

    Args:
        table: from `recipes.by_recipe` or `recipes.by_study`.
        study: whose margin and metric hold.
        name: of the figure and its data.
        caption: how to read it.
        about: how its title begins.
    """
    figure = canvas(7.2, 4.2)
    axes = figure.subplots()
    axes.axhspan(-study.margin, study.margin, color=BAND, zorder=0)
    axes.axhline(0, color=INK, linewidth=1)
    names = list(table["recipe"].unique())
    for series, recipe in enumerate(names):
        line = table[table["recipe"] == recipe]
        shift = 0.5 * ((series + 0.5) / len(names) - 0.5)
        colour, marker = SERIES[series % len(SERIES)], MARKERS[series // len(SERIES) % len(MARKERS)]
        places, changes = [0, *line["freeze"] + shift], [0, *line["effect"]]
        axes.plot(places, changes, color=colour)
        axes.plot(places[1:], changes[1:], marker=marker, color=colour, label=recipe)
        axes.vlines(line["freeze"] + shift, line["low"], line["high"], color=colour, alpha=0.5)
    axes.set_xlabel("frozen stages")
    axes.set_ylabel(f"change of {study.evidence.metric}, points")
    axes.set_xticks([0, *sorted(table["freeze"].unique())])
    legend(figure, axes)
    last = table[table["freeze"] == table["freeze"].max()]
    return html.figure(
        figure,
        name,
        key=f"recipe:{recipes.turns(table)}",
        finding=(
            f"{about} {last['freeze'].iloc[0]} frozen stages, the change ranges from "
            f"{number(last['effect'].min(), sign=True)} to "
            f"{number(last['effect'].max(), sign=True)} points over the {len(names)} recipes."
        ),
        caption=caption,
        alt=sentences(
            table, "{recipe}, freeze {freeze}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"
        ),
        data=table,
    )
