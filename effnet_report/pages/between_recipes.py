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
    apart = {
        shown.about(group[0]).name: recipes.difference(group, deepest(group)) for group in groups
    }
    clear = [name for name, change in apart.items() if not change.low <= 0 <= change.high]
    if not clear:
        yield "We cannot tell whether the effect of freezing depends on the recipe."
    elif len(clear) == len(apart):
        yield "The effect of freezing depends on the recipe."
    else:
        yield (
            f"The effect of freezing depends on the recipe on {joined(clear)}; on "
            f"{joined([name for name in apart if name not in clear])} we cannot tell."
        )
    for group in groups:
        yield from html.apart(_of_one(group))


def _of_one(group: list[Analysis]) -> Iterator[str]:
    """What freezing changes with two recipes on one data set, and what the recipe changes."""
    table, depth = recipes.by_study(group), deepest(group)
    first, *_, last = [line for _, line in table[table["freeze"] == depth].iterrows()]
    apart = recipes.difference(group, depth)
    yield (
        f"On {shown.about(group[0]).name}, freezing {depth} stages changes "
        f"{group[0].evidence.metric} by {number(first.effect, sign=True)} points with "
        f"{_called(group[0])} and by {number(last.effect, sign=True)} points with a recipe like "
        f"the source's: {estimated(apart, sign=False)} apart."
    )
    if recipes.turns(table) == "turns":
        yield TURNS
    elif apart.low <= 0 <= apart.high:
        yield "That difference may be chance."
    gain = recipes.gain(group, 0)
    yield (
        f"Where nothing is frozen, {group[0].evidence.metric} is {estimated(gain, sign=False)} "
        f"{'lower' if gain.effect < 0 else 'higher'} with {_called(group[0])}."
    )
    for recipe, lines in table.groupby("recipe", sort=False):
        raised = lines[lines["low"] > 0]
        if recipe == last.recipe and not raised.empty:
            most = raised.loc[raised["effect"].idxmax()]
            yield (
                f"With a recipe like the source's, freezing {joined(raised['freeze'], 'or')} "
                f"stages raises {group[0].evidence.metric}, by up to "
                f"{estimated(most, sign=False)}."
            )
    if differences := _differences(group):
        yield (
            f"The two studies also differ in {differences.removeprefix('; ')}; which difference "
            "is responsible cannot be separated."
        )


def _called(study: Analysis) -> str:
    """What to call the recipe of a study that is least like the source's."""
    advising = {other.evidence.reference for other in shown.advising()}
    return f"the recipe {'of the first page' if study.evidence.reference in advising else 'tried'}"


def deepest(group: list[Analysis]) -> int:
    """The most stages that the studies freeze."""
    return max(group[0].noninferiority.changes)


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
    depths = sorted({deepest(group) for group in groups})
    none, most = "nothing frozen, %", f"{joined(depths, 'or')} stages frozen, %"
    rows = [row for group in groups for row in _rows(group, none, most)]
    gains = [abs(recipes.gain(group, 0).effect) for group in groups]
    metric = groups[0][0].evidence.metric
    return html.table(
        pd.DataFrame(rows),
        "both-recipes",
        key=f"recipes:{len(rows)}",
        finding=f"Where nothing is frozen, the recipe changes {metric} by "
        f"{' and '.join(map(number, gains))} points.",
        caption=f"Mean test {metric} in the seeds that both studies have, and differences with "
        "95 % intervals. A difference is that of both protocols as a whole, with all in which the "
        "two studies differ.",
    )


def _rows(group: list[Analysis], none: str, most: str) -> Iterator[dict[str, str]]:
    """Two recipes of one data set and their difference."""
    compared, depth = (group[0], group[-1]), deepest(group)
    names, seeds = recipes.differences(group), recipes.common_seeds(group)
    table = recipes.by_study(group).query(f"freeze == {depth}").set_index("recipe")
    for study, name in zip(compared, (names[0], names[-1]), strict=True):
        runs = study.evidence.runs
        means = runs[runs["seed"].isin(seeds)].groupby("freeze")["accuracy"].mean()
        yield {
            "images": shown.about(study).name,
            "recipe": name,
            none: number(means[0]),
            most: number(means[depth]),
            CHANGE: _spanned(table.loc[name]),
        }
    yield {
        "images": shown.about(group[0]).name,
        "recipe": "first minus second",
        none: _spanned(recipes.gain(group, 0)),
        most: _spanned(recipes.gain(group, depth)),
        CHANGE: _spanned(recipes.difference(group, depth)),
    }


def _spanned(change: Estimate | pd.Series) -> str:
    low, high = number(change.low, sign=True), number(change.high, sign=True)
    return f"{number(change.effect, sign=True)} ({low} to {high})"


def figures(groups: Sequence[list[Analysis]]) -> HTML:
    """Change of accuracy against all depths, one line per study, one figure per data set."""
    drawn = []
    for place, group in enumerate(groups):
        name, seeds = shown.about(group[0]).name, len(recipes.common_seeds(group))
        figure = effects(
            recipes.by_study(group),
            group[0],
            f"effect-by-study-{place}" if place else "effect-by-study",
            f"Each line is a study of {name} ({seeds} seeds{_differences(group)}). The 95 % "
            "intervals of the changes hold for all depths of all lines at once.",
            about=f"On {name}, with",
        )
        drawn.append(figure.data)
    return HTML(Markup().join(drawn))


def _differences(group: list[Analysis]) -> str:
    """What else differs between studies, beside the recipe that names their lines."""
    protocols = [study.evidence.design.protocol for study in group]
    return "".join(
        f"; {words.factor(name)} {joined(words.level(name, getattr(p, name)) for p in protocols)}"
        for name in recipes.other_settings(group)
    )


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
