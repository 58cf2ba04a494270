"""The page Does the recipe matter?: the effect of freezing at each way to fine-tune."""

from collections.abc import Iterator

import pandas as pd
from IPython.display import HTML

from effnet_core.study.design import short_number
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import smaller, source
from effnet_report.inference import contrasts, recipes
from effnet_report.inference.analysis import Analysis
from effnet_report.numbers import number
from effnet_report.pages import between_recipes, shown
from effnet_report.pages.between_recipes import TURNS, estimated
from effnet_report.pages.gaps import coverage
from effnet_report.render import html
from effnet_report.render.html import apart, finding, paragraph
from effnet_report.words import joined

NO_BREAK_HYPHEN = "\N{NON-BREAKING HYPHEN}"


def studies() -> list[Analysis]:
    """The studies that compare recipes and have a complete seed, in the order of the book."""
    return [study for study in shown.recipes() if study.correctness.seeds]


def answer(studies: list[Analysis]) -> HTML:
    """Whether the effect of freezing depends on the recipe."""
    groups = between_recipes.groups()
    if not (studies or groups):
        return finding(
            "This has not been measured yet: no study of this report compares recipes.",
            "The advice on the first page holds for one recipe, the one that its card names.",
            key="recipe:unmeasured",
        )
    pilots = [recipes.tuned(study) for study in studies[:1]]
    table = recipes.by_study(groups[0]) if groups else recipes.by_recipe(pilots[0])
    lines = [*(between_recipes.opening(groups) if groups else _alone(pilots[0], table))]
    for pilot in pilots:
        lines += [*apart(_choices(pilot)), *apart(coverage(studies[0].evidence))]
    return finding(*lines, key=f"recipe:{recipes.turns(table)}")


def _alone(study: Analysis, table: pd.DataFrame) -> Iterator[str]:
    """What the deepest freeze changes at the recipes of one study that differ most."""
    deepest = table[table["freeze"] == table["freeze"].max()].sort_values("effect")
    worst, best = deepest.iloc[0], deepest.iloc[-1]
    yield (
        f"Freezing {best.freeze} stages changes {study.evidence.metric} by "
        f"{estimated(worst)} with {worst.recipe}, and by {estimated(best)} with "
        f"{best.recipe}."
    )
    if recipes.turns(table) == "turns":
        yield TURNS


def _choices(study: Analysis) -> Iterator[str]:
    """What each choice of the recipe changes in the study that compares recipes."""
    table = recipes.by_recipe(study)
    depths = [0, *sorted(table["freeze"].unique())]
    clear = [
        f"with {choice}, {study.evidence.metric} changes by {estimated(change)}"
        for choice, change in study.effects.items()
        if not choice.startswith("freeze ") and (change.low > 0 or change.high < 0)
    ]
    yield (
        f"The study “{shown.title(study)}” ({len(study.correctness.seeds)} seeds, "
        f"{study.evidence.design.protocol.image_size} px) compares {len(recipes.of(study))} "
        f"recipes, each with {joined(depths)} frozen stages: "
        f"{'; '.join(clear) or 'none is clearly better'}."
    )
    if recipes.turns(table) != "turns":
        yield "It does not show that freezing helps with one recipe and harms with another."


def both_ways() -> HTML:
    """Accuracy with two recipes, with nothing and with most stages frozen."""
    return between_recipes.both_ways(between_recipes.groups())


def between_studies() -> HTML:
    """Change of accuracy against all depths, one line per study, one figure per data set."""
    return between_recipes.figures(between_recipes.groups())


def effects(studies: list[Analysis]) -> HTML:
    """Change of accuracy against depth, one line per recipe of the study that compares them."""
    if not studies:
        return _unmeasured()
    study = recipes.tuned(studies[0])
    table = recipes.by_recipe(study)
    tuned = ", at its best learning rate on validation," if study is not studies[0] else ""
    return between_recipes.effects(
        table,
        study,
        "effect-by-recipe",
        f"Each line is one recipe of the study “{shown.title(studies[0])}”{tuned} compared with "
        "freezing nothing at the same recipe. Its 95 % intervals hold for all depths and recipes "
        "at once; a change inside the grey band is too small to matter.",
        about="In the study of recipes, with",
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
            f"Here, in {len(table) - near} of {len(table)} cases that rate's validation "
            f"{study.evidence.metric} ended more than {number(study.margin)} points behind that of "
            f"the best rate; it was {number(table['behind'].mean())} points behind on average, at "
            f"most {number(table['behind'].max())}.",
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
            f"The choice of {first['choice']} moves mean {study.evidence.metric} by "
            f"{number(first[MOVES])} points, the largest difference here."
        ),
        caption="Difference, without interval, between the best and the worst level of each "
        "choice, averaged over all others in its study, so that a level can be best on average "
        "and not with each of them; each run at the learning rate that is best on validation, "
        "where rates were compared.",
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
    alike = [
        other
        for other in shown.on_the_same_images(study)
        if other.depths and recipes.is_like_the_source(other)
    ]
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
            f"{deepest} stages changes {study.evidence.metric} by {estimated(last)}.",
            _conclusion(last.low, last.high, study.evidence.metric),
            f"At the recipe that is best on validation here, {recipe}, "
            f"freezing {freeze} stages changes it by {estimated(change)}.",
            _of_the_source(),
            "These intervals are of each study alone, with all its seeds; further up, they are for "
            "both studies together.",
        ]
    )


def _of_the_source() -> str:
    """What the source itself found at its deepest freeze."""
    means = source.results().groupby("freeze")["accuracy"].mean()
    return (
        "The source itself, with a larger network, larger images, another rate and images of "
        f"another kind, saw the mean change from {number(means.iloc[0])} to "
        f"{number(means.iloc[-1])} % with {means.index[-1]} frozen stages."
    )


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
            f"{estimated(last)}.",
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
