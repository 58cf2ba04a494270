"""The page Does the recipe matter?: the effect of freezing at each way to fine-tune."""

from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.study.design import short_number
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import smaller, source
from effnet_report.inference import contrasts, recipes
from effnet_report.inference.analysis import Analysis
from effnet_report.inference.seeds_and_images import Estimate
from effnet_report.numbers import number
from effnet_report.pages import shown
from effnet_report.pages.gaps import coverage
from effnet_report.render import html
from effnet_report.render.drawing import BAND, INK, MARKERS, SERIES, canvas, legend, sentences
from effnet_report.render.html import LINE, finding, paragraph

TURNS = "So the recipe decides whether freezing helps: the main conclusion turns around."
NO_BREAK_HYPHEN = "\N{NON-BREAKING HYPHEN}"


def studies() -> list[Analysis]:
    """The studies that compare recipes and have a complete seed, in the order of the book."""
    return [study for study in shown.recipes() if study.correctness.seeds]


def answer(studies: list[Analysis]) -> HTML:
    """Whether the effect of freezing depends on the recipe."""
    whole = _other_recipes()
    if not (studies or whole):
        return finding(
            "This has not been measured yet: no study of this report compares recipes.",
            "The advice on the first page holds for one recipe, the one that its card names.",
            key="recipe:unmeasured",
        )
    pilots = [recipes.tuned(study) for study in studies[:1]]
    table = recipes.by_study(whole[0]) if whole else recipes.by_recipe(pilots[0])
    lines = [] if whole else [*_alone(pilots[0], table)]
    named: list[str] = []
    for alike in whole:
        names = recipes.differences(alike)
        lines += [*([LINE] if lines else []), *_between(alike, again=names == named)]
        named = names
    for pilot in pilots:
        lines += [LINE, *_pilot(pilot), *coverage(studies[0].evidence)]
    return finding(*lines, key=f"recipe:{recipes.turns(table)}")


def _other_recipes() -> list[list[Analysis]]:
    """Per data set, studies that differ in their recipe; see `shown.with_other_recipes`."""
    return [whole for study in shown.data_sets() if (whole := shown.with_other_recipes(study))]


def _between(whole: list[Analysis], *, again: bool) -> Iterator[str]:
    """What another recipe changes on one data set, with nothing and with much frozen.

    Args:
        whole: studies that differ in their recipe.
        again: whether the recipes were named just before.
    """
    table = recipes.by_study(whole)
    metric, deepest = whole[0].evidence.metric, int(table["freeze"].max())
    none, most = (recipes.gain(whole, freeze) for freeze in (0, deepest))
    first, *_, last = [line for _, line in table[table["freeze"] == deepest].iterrows()]
    apart = recipes.difference(whole, deepest)
    other = f"{first.recipe}, instead of {last.recipe},"
    yield (
        f"On {shown.about(whole[0]).name}, {'the same recipe' if again else other} changes "
        f"{metric} by {_estimated(none)} where nothing is frozen, and by {_estimated(most)} where "
        f"{deepest} stages are."
    )
    yield (
        f"Freezing {deepest} stages changes {metric} by {_estimated(first)} with the first recipe "
        f"and by {_estimated(last)} with the other, in the {apart.seeds} seeds that both have."
    )
    if recipes.turns(table) == "turns":
        yield TURNS
    elif apart.low <= 0 <= apart.high:
        yield f"The difference between these two, {_estimated(apart)}, may be chance."
    else:
        yield (
            f"These two are {_estimated(apart, sign=False)} apart: what freezing does depends on "
            "the recipe."
        )
    if differences := _differences(whole):
        yield (
            f"The studies also differ in other settings ({differences.removeprefix('; ')}), so the "
            "difference is that of both protocols as a whole."
        )


def _alone(study: Analysis, table: pd.DataFrame) -> Iterator[str]:
    """What the deepest freeze changes at the recipes of one study that differ most."""
    deepest = table[table["freeze"] == table["freeze"].max()].sort_values("effect")
    worst, best = deepest.iloc[0], deepest.iloc[-1]
    yield (
        f"Freezing {best.freeze} stages changes {study.evidence.metric} by "
        f"{_estimated(worst)} with {worst.recipe}, and by {_estimated(best)} with "
        f"{best.recipe}."
    )
    if recipes.turns(table) == "turns":
        yield TURNS


def _pilot(study: Analysis) -> Iterator[str]:
    """What each choice of the recipe changes in the study that compares recipes."""
    table = recipes.by_recipe(study)
    listed = ", ".join(map(str, [0, *sorted(table["freeze"].unique())]))
    clear = [
        f"with {choice}, {study.evidence.metric} changes by {_estimated(change)}"
        for choice, change in study.effects.items()
        if not choice.startswith("freeze ") and (change.low > 0 or change.high < 0)
    ]
    yield (
        f"The study “{shown.title(study)}” compares {len(recipes.of(study))} recipes at freeze "
        f"{listed}: {'; '.join(clear) or 'none is clearly better'}."
    )
    if recipes.turns(table) != "turns":
        yield (
            "In that study alone, the intervals do not show that freezing helps with one recipe "
            "and harms with another."
        )
    if isinstance(study.evidence.design.protocol.learning_rate, tuple):
        yield (
            "There, each depth is trained in each seed at the learning rate that is best on its "
            "validation images."
        )


def between_studies() -> HTML:
    """Change of accuracy against all depths, one line per study, one figure per data set."""
    drawn = []
    for place, whole in enumerate(_other_recipes()):
        name, seeds = shown.about(whole[0]).name, len(recipes.common_seeds(whole))
        figure = _effects(
            recipes.by_study(whole),
            whole[0],
            f"effect-by-study-{place}" if place else "effect-by-study",
            f"Each line is a study of {name} ({seeds} seeds{_differences(whole)}). The 95 % "
            "intervals of the changes hold for all depths of all lines at once.",
        )
        drawn.append(figure.data)
    return HTML(Markup().join(drawn))


def _differences(whole: list[Analysis]) -> str:
    """What else differs between studies, beside the recipe that names their lines."""
    protocols = [study.evidence.design.protocol.model_dump() for study in whole]
    return "".join(
        f"; {words.factor(name)} {words.joined(words.level(name, p[name]) for p in protocols)}"
        for name in protocols[0]
        if name not in recipes.SETTINGS and len({str(p[name]) for p in protocols}) > 1
    )


def effects(studies: list[Analysis]) -> HTML:
    """Change of accuracy against depth, one line per recipe."""
    if not studies:
        return _unmeasured()
    study = recipes.tuned(studies[0])
    return _effects(
        recipes.by_recipe(study),
        study,
        "effect-by-recipe",
        "Each line is one recipe compared with freezing nothing at the same recipe; its 95 % "
        "intervals hold for all depths and recipes at once. A change inside the band is too "
        "small to matter.",
    )


def _effects(table: pd.DataFrame, study: Analysis, name: str, caption: str) -> HTML:
    """Change of accuracy against depth, one line per recipe of a table."""
    figure = canvas(7.2, 4.2)
    axes = figure.subplots()
    axes.axhspan(-study.margin, study.margin, color=BAND, zorder=0)
    axes.axhline(0, color=INK, linewidth=1)
    names = list(table["recipe"].unique())
    for series, recipe in enumerate(names):
        line = table[table["recipe"] == recipe]
        shift = 0.5 * ((series + 0.5) / len(names) - 0.5)
        colour, marker = SERIES[series % len(SERIES)], MARKERS[series // len(SERIES) % len(MARKERS)]
        places, effects = [0, *line["freeze"] + shift], [0, *line["effect"]]
        axes.plot(places, effects, color=colour)
        axes.plot(places[1:], effects[1:], marker=marker, color=colour, label=recipe)
        axes.vlines(line["freeze"] + shift, line["low"], line["high"], color=colour, alpha=0.5)
    axes.set_xlabel("frozen stages")
    axes.set_ylabel(f"change of {study.evidence.metric}, points")
    axes.set_xticks([0, *sorted(table["freeze"].unique())])
    legend(figure, axes)
    deepest = table[table["freeze"] == table["freeze"].max()]
    return html.figure(
        figure,
        name,
        key=f"recipe:{recipes.turns(table)}",
        finding=(
            f"With {deepest['freeze'].iloc[0]} frozen stages the change ranges from "
            f"{number(deepest['effect'].min(), sign=True)} to "
            f"{number(deepest['effect'].max(), sign=True)} points over the {len(names)} recipes."
        ),
        caption=caption,
        alt=sentences(
            table, "{recipe}, freeze {freeze}: {effect:+.1f} points ({low:+.1f} to {high:+.1f})"
        ),
        data=table,
    )


def every_rate(studies: list[Analysis]) -> HTML:
    """Test accuracy at each depth and rate: which rates a depth tolerates."""
    if not studies:
        return _unmeasured()
    study = studies[0]
    if not recipes.compares_rates(study):
        return paragraph(["This study does not train every depth at several learning rates."])
    rows = ["freeze", *[name for name in recipes.factors(study) if name != smaller.RATE]]
    runs, metric = study.evidence.runs, study.evidence.metric
    means = runs.groupby([*rows, smaller.RATE])[["accuracy", "validation"]].mean().reset_index()
    wide = means.pivot(index=rows, columns=smaller.RATE, values="accuracy")
    by_seed = runs.loc[runs.groupby(["seed", *rows])["validation"].idxmax()]
    chosen = by_seed.sort_values("seed").groupby(rows)[smaller.RATE].agg(list)
    lost = float((wide.max(axis=1) - wide.min(axis=1)).max())
    unbroken = {rate: f"{short_number(rate).replace('-', NO_BREAK_HYPHEN)}, %" for rate in wide}
    frame = wide.rename(columns=unbroken)
    frame["best on validation, by seed"] = [_rates(chosen[row]) for row in wide.index]
    frame = frame.reset_index()
    for name in rows[1:]:
        frame[name] = [words.beside(name, level) for level in frame[name]]
    return html.table(
        frame.rename(columns={name: words.factor(name) for name in rows}),
        "accuracy-by-rate",
        key=f"rates:{wide.shape[1]}",
        finding=(
            f"The learning rate moves {metric} by up to {number(lost)} points at one depth and "
            "recipe."
        ),
        caption=f"Mean test {metric} over the seeds, by learning rate. The comparisons of depths "
        "take in each seed the rate of the last column; one rate for all depths would favour "
        "those that it happens to suit.",
        data=means,
    )


def _rates(chosen: list[float]) -> str:
    """The rates of the seeds, in one where they agree."""
    written = [short_number(rate).replace("-", NO_BREAK_HYPHEN) for rate in chosen]
    return written[0] if len(set(written)) == 1 else ", ".join(written)


def race(studies: list[Analysis]) -> HTML:
    """How good the rate is that a race of one epoch picks."""
    if not studies or not recipes.compares_rates(studies[0]):
        return paragraph([])
    study = studies[0]
    table = recipes.races(study)
    near = int((table["behind"] <= study.margin).sum())
    return paragraph(
        [
            "A run whose learning rate is a list trains one epoch with each rate and continues "
            "with the one of lowest validation loss.",
            f"Here, that rate came within {number(study.margin)} points of the best rate's "
            f"validation {study.evidence.metric} in {near} of {len(table)} cases, and was "
            f"{number(table['behind'].mean())} points behind on average, at most "
            f"{number(table['behind'].max())}.",
        ]
    )


def ranges(studies: list[Analysis]) -> HTML:
    """By how much each choice moves mean accuracy, the recipe's beside the source's."""
    if not studies:
        return _unmeasured()
    study = studies[0]
    # A rate that ruins one depth would hide what the other choices do.
    tuned = recipes.tuned(study)
    moved = {
        name: _moved(tuned if name in tuned.evidence.factors else study, name)
        for name in shown.factors_of(study)
    }
    for other in reversed(shown.on_the_same_images(study)):
        more = {n for n in shown.factors_of(other) if _levels(other, n) > _levels(study, n)}
        moved = {name: _moved(other, name) for name in more} | {
            name: row for name, row in moved.items() if name not in more
        }
    frame = pd.DataFrame(moved.values()).sort_values(MOVES, ascending=False)
    first = frame.iloc[0]
    return html.table(
        frame,
        "recipe-ranges",
        key=f"largest:{first['choice']}",
        finding=(
            f"The choice of {first['choice']} moves mean {study.evidence.metric} most, by "
            f"{number(first[MOVES])} points."
        ),
        caption="Difference between the best and the worst level of each choice, averaged over "
        "all others in its study, so that a level can be best on average and not with each of "
        "them; each run at the learning rate that is best on validation, where rates were "
        "compared.",
    )


MOVES = "difference, points"


def _levels(study: Analysis, factor: str) -> int:
    """How many levels of a factor a study compares."""
    return len(study.evidence.design.factors.get(factor, ()))


def _moved(study: Analysis, factor: str) -> dict[str, object]:
    means = study.evidence.configurations.groupby(factor)["accuracy"].mean()
    ranked = sorted(contrasts.levels(study.correctness.design, factor), key=means.get)
    return {
        "choice": words.factor(factor),
        MOVES: float(means.max() - means.min()),
        "best level": words.beside(factor, ranked[-1]),
        "worst level": words.beside(factor, ranked[0]),
        "study": shown.title(study),
    }


def source_alone(studies: list[Analysis]) -> HTML:
    """The conclusion from the source's protocol alone, and that of the study that advises."""
    if not studies:
        return _unmeasured()
    study = studies[0]
    alike = [other for other in shown.on_the_same_images(study) if _is_the_source(other)]
    source = max(alike, key=recipes.likeness, default=None)
    if source is None:
        return _closest(study)
    (best,) = (one for one in shown.advising() if shown.same_images(one, study))
    chosen = best.evidence.design.protocol
    names = [name for name in recipes.SETTINGS if name != "early_stop_patience"]
    recipe = recipes.in_words(tuple((name, getattr(chosen, name)) for name in names))
    (deepest, last), (freeze, change) = (
        max(one.noninferiority.changes.items()) for one in (source, best)
    )
    return paragraph(
        [
            "One study has the source's batch statistics, its early stopping and one learning rate "
            "for all depths, on these images. There, freezing "
            f"{deepest} stages changes {study.evidence.metric} by {_estimated(last)}.",
            _conclusion(last.low, last.high, study.evidence.metric),
            f"At the recipe that is best on validation here, {recipe}, "
            f"freezing {freeze} stages changes it by {_estimated(change)}.",
            _of_the_source(),
            "These intervals are of each study alone, with all its seeds; further up, they are for "
            "both studies together.",
        ]
    )


def _is_the_source(study: Analysis) -> bool:
    """Whether a study compares depths at the source's statistics, patience and a single rate."""
    source, own = load_study("paper").protocol, study.evidence.design.protocol
    same = all(
        getattr(own, name) == getattr(source, name)
        for name in ("norm_statistics", "early_stop_patience")
    )
    return bool(study.depths) and not recipes.factors(study) and same and len(own.rates) == 1


def _of_the_source() -> str:
    """What the source itself found at its deepest freeze."""
    means = source.results().groupby("freeze")["accuracy"].mean()
    return (
        "The source itself, with a larger network, larger images, another rate and images of "
        f"another kind, saw the mean change from {number(means.iloc[0])} to "
        f"{number(means.iloc[-1])} % with {means.index[-1]} frozen stages."
    )


def _estimated(change: Estimate | pd.Series, *, sign: bool = True) -> str:
    """A change with its interval; without sign, how large it is."""
    effect, low, high = change.effect, change.low, change.high
    if not sign and effect < 0:
        effect, low, high = -effect, -high, -low
    return f"{number(effect, sign=sign)} points (95 % CI {number(low)} to {number(high)})"


def _closest(study: Analysis) -> HTML:
    """The conclusion at the recipe that is closest to the source's protocol."""
    source = load_study("paper").protocol
    tried = recipes.of(study)

    def alike(recipe: recipes.Recipe) -> int:
        return sum(getattr(source, name, None) == level for name, level in recipe)

    closest = max(tried, key=alike)
    table = recipes.by_recipe(study)
    here = table[table["recipe"] == recipes.in_words(closest)]
    last = here.iloc[-1]
    return paragraph(
        [
            f"The recipe of this study that is closest to the source's is {last.recipe}.",
            f"There, freezing {last.freeze} stages changes {study.evidence.metric} by "
            f"{_estimated(last)}.",
            _conclusion(last.low, last.high, study.evidence.metric),
        ]
    )


def _conclusion(low: float, high: float, metric: str) -> str:
    if low > 0:
        return f"On its own, this leads to the conclusion that freezing improves {metric}."
    if high < 0:
        return f"On its own, this leads to the conclusion that freezing costs {metric}."
    return f"On its own, this leaves it unclear whether freezing changes {metric}."


def _unmeasured() -> HTML:
    return paragraph(["Not measured yet: no study here has factors of the recipe."], "report-gap")
