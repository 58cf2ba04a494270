"""Effects with 95 % intervals and p-values, each by a named method.

Accuracies are per cent, effects are percentage points. `runs` is a table with one row a run:
number, freeze, head, scheduler, seed, accuracy. The independent pieces of evidence are
configurations, not runs: seeds of one configuration are averaged before anything is tested.
What the data do not allow is NaN.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.regression.linear_model import RegressionResultsWrapper
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.tools.sm_exceptions import SingularMatrixWarning

from effnet_core.study.design import FACTORS
from effnet_report.evidence.evidence import configuration_means

LEVEL = 0.95
POWER = 0.8
RESAMPLES = 9_999
FEWEST = 6  # pairs: of fewer, no exact test can reject at 5 %


@dataclass(frozen=True)
class Estimate:
    """An effect, its 95 % interval, and what it rests on.

    Attributes:
        p: probability of a result at least as far from no effect, if there were none.
        n: number of independent pieces of evidence: pairs, configurations or images.
        method: how effect, interval and p were computed, in words.
    """

    effect: float
    low: float
    high: float
    p: float
    n: int
    method: str


def unknown(method: str, n: int = 0, effect: float = math.nan) -> Estimate:
    """An effect without interval, or no effect at all; `method` says why."""
    return Estimate(effect, math.nan, math.nan, math.nan, n, method)


def _fit(formula: str, table: pd.DataFrame) -> RegressionResultsWrapper:
    """Least squares; `block` is the combination of head and schedule."""
    with warnings.catch_warnings():
        # A study that is not finished may lack a level; who needs the coefficients checks.
        warnings.simplefilter("ignore", SingularMatrixWarning)
        return smf.ols(formula, table.assign(block=table["head"] + table["scheduler"])).fit()


def matched_differences(
    runs: pd.DataFrame, factor: str, level: object, reference: object
) -> pd.Series:
    """Accuracy at one level of a factor minus accuracy at the reference level.

    Args:
        runs: one row a run.
        factor: freeze, head or scheduler.
        level: of that factor.
        reference: the level to compare with.

    Returns:
        One value for each pair of configurations that agree in the other factors: the mean
        over the seeds that both have.
    """
    others = [name for name in FACTORS if name != factor]
    table = runs.pivot(index=[*others, "seed"], columns=factor, values="accuracy")
    table = table.reindex(columns=[reference, level])
    return (table[level] - table[reference]).dropna().groupby(level=others).mean()


def mean_difference(differences: Sequence[float] | np.ndarray | pd.Series) -> Estimate:
    """Mean of paired differences: exact sign-flip test, bootstrap interval over the pairs.

    The test is Fisher's, over all 2^n signs (The Design of Experiments, 1935, chapter 3). The
    bootstrap is the expanded percentile interval, which is wide enough for few pairs
    (Hesterberg, The American Statistician 69, 2015, section 3.4).
    """
    values = np.asarray(differences, dtype=float)
    n = len(values)
    method = "matched configurations: exact sign-flip test, bootstrap interval over the pairs"
    if n < FEWEST:
        return unknown(method, n, float(values.mean()) if n else math.nan)
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    reach = math.sqrt(n / (n - 1)) * stats.t.ppf((1 + LEVEL) / 2, n - 1)
    interval = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=2 * float(stats.norm.cdf(reach)) - 1,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return Estimate(float(values.mean()), low, high, float(test.pvalue), n, method)


def freeze_contrasts(
    runs: pd.DataFrame, value: str = "accuracy", against: float = 0.0, looks: int = 1
) -> dict[int, Estimate]:
    """What freezing n stages changes against freezing none, for every n.

    Least squares on the configurations' means with one term a freeze depth, and one a
    combination of head and schedule: all configurations together say how much chance there
    is, since a single depth has only four.

    Args:
        runs: one row a run.
        value: column to explain.
        against: change that p is about; 0 is no change.
        looks: how many of the contrasts are looked at; intervals and p then hold for all of
            them at once (Bonferroni).
    """
    method = "least squares: freeze depths, and head x schedule, on the configurations' means"
    if looks > 1:
        method += f"; for {looks} depths at once"
    means = configuration_means(runs)
    depths = sorted(means["freeze"].unique())
    if 0 not in depths:
        return {}
    fit = _fit(f"{value} ~ C(freeze, Treatment(0)) + C(block)", means)
    if fit.model.rank < len(fit.params):  # depths and blocks that never met
        return {}
    contrasts = {}
    for n in depths[1:]:
        name = f"C(freeze, Treatment(0))[T.{n}]"
        effect = float(fit.params[name])
        contrasts[int(n)] = unknown(method, len(means), effect)
        if fit.df_resid >= 1:
            low, high = (float(bound) for bound in fit.conf_int((1 - LEVEL) / looks).loc[name])
            p = min(1.0, looks * float(fit.t_test(f"{name} = {against}").pvalue))
            contrasts[int(n)] = Estimate(effect, low, high, p, len(means), method)
    return contrasts


def freeze_trend(runs: pd.DataFrame) -> Estimate:
    """Change of accuracy from no frozen stage to the deepest freeze, along the fitted line.

    p is Page's test, both ways, for an order of the depths that all combinations of head and
    schedule share (Page, Journal of the American Statistical Association 58, 1963).
    """
    method = "Page's trend test; least-squares line over the depths, beside head x schedule"
    means = configuration_means(runs)
    n, depths = len(means), means["freeze"]
    if n < FEWEST or depths.nunique() < 3:
        return unknown(method, n)
    fit = _fit("accuracy ~ freeze + C(block)", means)
    span = int(depths.max() - depths.min())
    low, high = span * fit.conf_int(1 - LEVEL).loc["freeze"]
    effect = span * float(fit.params["freeze"])
    table = means.pivot(index=["head", "scheduler"], columns="freeze", values="accuracy").dropna()
    p = math.nan
    if len(table) >= 2:
        ways = (table, table.iloc[:, ::-1])
        p = min(1.0, 2 * min(float(stats.page_trend_test(way).pvalue) for way in ways))
    return Estimate(effect, float(low), float(high), p, n, method)


def chance(runs: pd.DataFrame) -> tuple[float, int]:
    """How much a single run varies by chance.

    Returns:
        Standard deviation in points and its degrees of freedom. With several seeds it is what
        configuration and seed leave unexplained; with one, what the factors' main effects do,
        which counts their interactions as chance too. NaN and 0 where there are too few runs.
    """
    for names in (["number", "seed"], FACTORS):
        if len(runs):
            terms = " + ".join(f"C({name})" for name in names)
            fit = _fit(f"accuracy ~ {terms}", runs)
            if fit.df_resid >= FEWEST:
                return math.sqrt(fit.mse_resid), int(fit.df_resid)
    return math.nan, 0


def lead_of(number: int, runs: pd.DataFrame) -> Estimate:
    """Lead of one configuration over the best of the others; negative when it is behind.

    Which of the others is best was chosen by looking, so that the interval must hold for
    every pair: Tukey's studentized range, with Kramer's correction for unequal numbers of
    runs (Kramer, Biometrics 12, 1956).
    """
    method = "difference of two of all configurations: Tukey and Kramer's test and interval"
    k = runs["number"].nunique()
    if number not in runs["number"].to_numpy() or k < 2:
        return unknown(method, k)
    means = configuration_means(runs).set_index("number")["accuracy"]
    ranked = means.drop(number).sort_values(ascending=False)
    rival = int(ranked.index.tolist()[0])
    effect = float(means[number] - means[rival])
    sd, freedom = chance(runs)
    if not freedom:
        return unknown(method, k, effect)
    sizes = runs["number"].value_counts()
    error = sd * math.sqrt((1 / sizes[number] + 1 / sizes[rival]) / 2)
    reach = error * float(stats.studentized_range.ppf(LEVEL, k, freedom))
    p = float(stats.studentized_range.sf(abs(effect) / error, k, freedom))
    return Estimate(effect, effect - reach, effect + reach, p, k, method)


def paired_images(differences: np.ndarray) -> Estimate:
    """Difference in accuracy of two models on the same images.

    Half an image is added to each of the four outcomes, so that the interval stays honest
    when the models hardly disagree (Agresti and Min, Statistics in Medicine 24, 2005). p is
    McNemar's exact test, or for several seeds its generalization: random sign flips.

    Args:
        differences: by image, how often the first model was right minus how often the
            second was, -1..1: the mean over their seeds.
    """
    n = len(differences) + 2
    total, squares = float(differences.sum()), float((differences**2).sum()) + 1
    margin = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(squares - total**2 / n) / n
    gained, lost = int((differences == 1).sum()), int((differences == -1).sum())
    if gained + lost == np.count_nonzero(differences):
        test = "McNemar's exact test"
        p = float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)
    else:
        test = "sign-flip test over the images"
        p = float(
            stats.permutation_test(
                (differences,),
                np.mean,
                permutation_type="samples",
                n_resamples=RESAMPLES,
                batch=1_000,
                rng=np.random.default_rng(0),
            ).pvalue
        )
    return Estimate(
        100 * float(differences.mean()),
        100 * (total / n - margin),
        100 * (total / n + margin),
        p,
        len(differences),
        f"same test images: {test}, Agresti and Min's interval for paired proportions",
    )


def between_images(right: pd.Series, others: pd.Series) -> Estimate:
    """Difference in accuracy between two sets of images: Welch's t test and interval.

    Args:
        right: by image, how often models were right, 0..1.
        others: the same for the other set.
    """
    method = "two sets of images: Welch's t test and interval"
    n = len(right) + len(others)
    if min(len(right), len(others)) < 2:
        return unknown(method, n)
    test = stats.ttest_ind(right, others, equal_var=False)
    interval = test.confidence_interval(LEVEL)
    effect = 100 * float(right.mean() - others.mean())
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    return Estimate(effect, low, high, float(test.pvalue), n, method)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979); NaN stays NaN and is not counted."""
    values = np.asarray(p_values, dtype=float)
    known = ~np.isnan(values)
    if known.any():
        values[known] = multipletests(values[known], method="holm")[1]
    return values.tolist()


def resolvable(sd: float, pairs: int, seeds: int) -> float:
    """Smallest mean difference that a paired t test at 5 % finds four times out of five.

    Args:
        sd: how much a single run varies by chance, points.
        pairs: matched pairs of configurations.
        seeds: runs of each configuration.
    """
    size = TTestPower().solve_power(effect_size=None, nobs=pairs, alpha=1 - LEVEL, power=POWER)
    return float(size) * sd * math.sqrt(2 / seeds)


def factor_effects(runs: pd.DataFrame) -> dict[str, Estimate]:
    """What each choice changes against freezing nothing, one linear layer and plateau."""
    effects = {f"freeze {n} instead of 0": e for n, e in freeze_contrasts(runs).items()}
    for name, contrast in (
        ("deeper head instead of one layer", ("head", "mlp", "none")),
        ("cosine instead of plateau", ("scheduler", "cosine", "plateau")),
    ):
        effects[name] = mean_difference(matched_differences(runs, *contrast))
    return effects


def factor_means(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest accuracy at each level of each factor, and how many there are."""
    configurations = configuration_means(runs)
    tables = [
        configurations.groupby(factor)["accuracy"]
        .agg(configurations="size", mean="mean", lowest="min", highest="max")
        .rename_axis("level")
        .reset_index()
        .assign(factor=factor)
        for factor in FACTORS
    ]
    return pd.concat(tables)[["factor", "level", "configurations", "mean", "lowest", "highest"]]
