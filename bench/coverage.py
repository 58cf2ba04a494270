"""Do the intervals cover what they promise? New seeds and new images from a fitted generator.

`python -m bench.coverage` writes results/simulation.json. A run is right on an image where a latent
normal variable is below a threshold (a probit model); how it correlates between runs, by what they
share, is fitted to runs that share test images: the first 84 of `elpv_source`, kept for this since
that study is in folds, or those of the study that is named.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.special import ndtr

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study.studies import load_study
from effnet_report.evidence.correctness import Correctness, balanced, of_complete_seeds, table_of
from effnet_report.evidence.evidence import load
from effnet_report.inference import contrasts, enough
from effnet_report.inference.seeds_and_images import Estimate, Estimator
from effnet_report.measurements.coverage import Coverage
from effnet_report.words import full_level

TEST_SET, VALIDATION = 656, 492  # images of one test set, of a validation set
POOL = 4 * TEST_SET  # in all folds; a study of which half is trained has seen two of four
CLASSICAL = 0.7  # correlation of what is hard for another kind of model, and for networks
COST = 0.1  # deviation of the logarithm of a run's cost
REPLICATES = 400


@dataclass(frozen=True)
class Generator:
    """A latent probit model of who is right on what.

    Attributes:
        design: the configurations.
        thresholds: by configuration and learning rate that races, shape (configurations, rates);
            the normal probability below is the accuracy.
        image: share of the latent variance that an image has for all runs; the next four: for
            one depth, for one configuration, for one seed, for one depth of one seed.
        between: deviation between seeds of the threshold of one level of a factor.
        run: the same of a run with one rate.
        seed: the same of all runs of a seed.
        rare: share of the images in the rarer of two classes, on which runs are right less often;
            quality is balanced accuracy then. 0 is accuracy, whatever the classes.
    """

    design: pd.DataFrame
    thresholds: np.ndarray
    image: float
    image_depth: float
    image_run: float
    image_seed: float
    image_seed_depth: float
    between: dict[str, float] = field(default_factory=dict)
    run: float = 0.0
    seed: float = 0.0
    rare: float = 0.0

    RARER = -0.7  # how much lower the threshold is on the rarer class

    @property
    def accuracies(self) -> np.ndarray:
        """By configuration, over all seeds and images, per cent."""
        if self.thresholds.shape[1] > 1:  # what a race picks has no closed form
            levels = self.chosen(100_000, np.random.default_rng(0))
            return 100 * np.mean([self._mean(part) for part in np.array_split(levels, 100)], axis=0)
        spread = math.sqrt(
            1 + sum(d**2 for d in self.between.values()) + self.run**2 + self.seed**2
        )
        return 100 * self._mean(self.thresholds.T, spread)

    def _mean(self, thresholds: np.ndarray, spread: float = 1.0) -> np.ndarray:
        """Quality over the first axis of thresholds, 0..1."""
        shifts = (0.0, self.RARER) if self.rare else (0.0,)
        return np.mean([ndtr((thresholds + s) / spread) for s in shifts], axis=(0, 1))

    def without_effects(self) -> "Generator":
        """All configurations alike."""
        alike = np.broadcast_to(self.thresholds.mean(axis=0), self.thresholds.shape)
        return replace(self, thresholds=alike)

    def chosen(self, seeds: int, rng: np.random.Generator) -> np.ndarray:
        """Thresholds of the runs of some new seeds, shape (seeds, configurations).

        Of several rates each run takes the one that does best on the seed's validation images.
        """
        runs, rates = self.thresholds.shape
        shift = self.seed * rng.normal(size=(seeds, 1))
        for factor, deviation in self.between.items():
            level, names = pd.factorize(self.design[factor])
            shift = shift + deviation * rng.normal(size=(seeds, len(names)))[:, level]
        candidates = self.thresholds + self.run * rng.normal(size=(seeds, runs, rates))
        if rates == 1:
            return candidates[:, :, 0] + shift
        noise = 1.5 / math.sqrt(VALIDATION)  # of an accuracy of 85 %, in deviations of the latent
        seen = candidates + noise * rng.normal(size=candidates.shape)
        best = seen.argmax(axis=2)[:, :, None]
        return np.take_along_axis(candidates, best, axis=2)[:, :, 0] + shift

    def judge(
        self, thresholds: np.ndarray, images: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Runs judged on new images that all of them share.

        Args:
            thresholds: of the runs, shape (seeds, configurations).
            images: number of them.
            rng: source of chance.

        Returns:
            What each image adds to the quality of each run, shape (seeds, configurations, images);
            and to that of another kind of model, shape (seeds, images).
        """
        (seeds, runs), depths = thresholds.shape, pd.factorize(self.design["freeze"])[0]

        def normal(variance: float, *shape: int) -> np.ndarray:
            scale = np.float32(math.sqrt(max(0.0, variance)))
            return scale * rng.standard_normal((*shape, images), dtype=np.float32)

        shares = (self.image, self.image_depth, self.image_run, self.image_seed)
        hard = normal(self.image)
        latent = hard + normal(self.image_depth, depths.max() + 1)[depths]
        if self.image_run > 0:
            latent = latent + normal(self.image_run, runs)
        latent = latent + normal(self.image_seed, seeds, 1)
        latent = latent + normal(self.image_seed_depth, seeds, depths.max() + 1)[:, depths]
        latent = latent + normal(1 - sum(shares) - self.image_seed_depth, seeds, runs)
        own = CLASSICAL * hard + math.sqrt(1 - CLASSICAL**2) * normal(self.image)
        other = own + normal(1 - self.image, seeds)
        labels = (np.arange(images) < self.rare * images).astype(int)
        shift = (self.RARER * labels).astype(np.float32)
        right = latent < thresholds[:, :, None].astype(np.float32) + shift
        theirs = other < self.thresholds.mean() + shift
        if self.rare:
            return balanced(right, labels), balanced(theirs, labels)
        return right, theirs


def fit(correctness: Correctness, rng: np.random.Generator) -> Generator:
    """Match the correlations and mean squares of runs that share their test images.

    Raises:
        InputError: the seeds share no test images, so image and image x seed cannot be told apart.
    """
    if correctness.folds or len(correctness.seeds) < 2:
        raise InputError("The generator is fitted to two seeds or more that share a test set.")
    right = np.stack(correctness.right).astype(float)
    accuracy, depths = right.mean(axis=2), correctness.design["freeze"].to_numpy()
    mean = float(accuracy.mean())
    threshold = float(stats.norm.ppf(mean))
    runs = list(np.ndindex(accuracy.shape))
    together = np.einsum("sci,tdi->sctd", right, right, optimize=True) / right.shape[2]
    excess: dict[tuple[bool, str], list[float]] = {}
    for one, other in combinations(runs, 2):
        (s, c), (t, d) = one, other
        kind = "run" if c == d else "depth" if depths[c] == depths[d] else "rest"
        value = together[s, c, t, d] - accuracy[one] * accuracy[other]
        excess.setdefault((s == t, kind), []).append(value)

    def correlation(same_seed: bool, kind: str) -> float:
        wanted = mean**2 + float(np.mean(excess[same_seed, kind]))

        def missed(r: float) -> float:
            law = stats.multivariate_normal(cov=[[1, r], [r, 1]])
            return float(law.cdf([threshold, threshold])) - wanted

        return float(optimize.brentq(missed, 0, 0.999))

    image, depth = correlation(False, "rest"), correlation(False, "depth")
    run, seed = correlation(False, "run"), correlation(True, "rest")
    flat = Generator(
        design=correctness.design,
        thresholds=stats.norm.ppf(accuracy.mean(axis=0))[:, None],
        image=image,
        image_depth=max(0.0, depth - image),
        image_run=max(0.0, run - depth),
        image_seed=max(0.0, seed - image),
        image_seed_depth=max(0.0, correlation(True, "depth") - depth - max(0.0, seed - image)),
    )
    return _with_seeds(flat, Estimator(correctness), rng)


def _with_seeds(flat: Generator, measured: Estimator, rng: np.random.Generator) -> Generator:
    """Add the differences between seeds that images do not explain."""

    def squares(one: Estimator) -> np.ndarray:
        between = one.correctness.accuracies.mean(axis=1).var(ddof=1)
        return np.array([one.family("freeze").mean_square, one.pairs.mean_square, between])

    alone = np.mean([squares(study(flat, measured.seeds, False, rng).estimator)
                     for _ in range(40)], axis=0)  # fmt: skip
    depths, pairs, between = squares(measured) - alone
    repeats = len(flat.design) / flat.design["freeze"].nunique()
    steep = 100 * float(stats.norm.pdf(flat.thresholds.mean()))
    run = max(0.0, pairs)
    depth = max(0.0, (depths - run) / repeats)
    return replace(
        flat,
        between={"freeze": math.sqrt(depth) / steep},
        run=math.sqrt(run) / steep,
        seed=math.sqrt(max(0.0, between)) / steep,
    )


def head_varies(fitted: Generator) -> Generator:
    """Heads differ more between seeds than schedules do: twice their mean square."""
    return replace(fitted, run=0.06, between={"freeze": 0.035, "head": 0.02})


def four_factors(fitted: Generator) -> Generator:
    """Depth and rate of several levels, head and statistics of two."""
    levels = {
        "freeze": [0, 2, 4, 6],
        "head": ["none", "mlp"],
        "learning_rate": [3e-5, 1e-4, 3e-4],
        "norm_statistics": ["batch", "pretrained"],
    }
    design = pd.DataFrame(product(*levels.values()), columns=[*levels])
    design.insert(0, "number", range(1, len(design) + 1))
    effects = {"freeze": 0.02, "head": -0.02, "learning_rate": 0.05, "norm_statistics": 0.15}
    shift = sum(effects[name] * pd.factorize(design[name])[0] for name in levels)
    thresholds = fitted.thresholds.mean() + np.asarray(shift)[:, None]
    between = {"freeze": 0.03, "learning_rate": 0.04, "norm_statistics": 0.02}
    return replace(fitted, design=design, thresholds=thresholds, between=between, run=0.05)


def tuned_rates(fitted: Generator) -> Generator:
    """Every run races three rates; which is the best depends on the depth."""
    depth = fitted.design["freeze"].to_numpy()[:, None]
    away = np.arange(3) - depth / 3
    thresholds = fitted.thresholds - 0.06 * away**2
    return replace(fitted, thresholds=thresholds, run=0.05, between={"freeze": 0.03})


def rare_class(fitted: Generator) -> Generator:
    """Balanced accuracy over two classes, of which one has a tenth of the images."""
    return replace(fitted, rare=0.1)


@dataclass(frozen=True)
class Simulated:
    """A simulated study: its test images, and what else the claims need."""

    estimator: Estimator
    classical: tuple[list[np.ndarray], list[np.ndarray]]
    validation: list[np.ndarray]
    logs: np.ndarray


def study(generator: Generator, seeds: int, folds: bool, rng: np.random.Generator) -> Simulated:
    """New seeds, judged on new images: all on one test set, or each on a share of its own."""
    thresholds = generator.chosen(seeds, rng)
    if folds:
        own = min(TEST_SET, POOL // seeds)
        parts = [generator.judge(thresholds[[s]], own, rng) for s in range(seeds)]
        right, other = [part[0][0] for part in parts], [part[1][0] for part in parts]
    else:
        shared, others = generator.judge(thresholds, TEST_SET, rng)
        right, other = list(shared), list(others)
    correctness = Correctness(
        generator.design, list(range(seeds)), right, list(range(seeds)) if folds else [0] * seeds
    )
    validation = [
        generator.judge(thresholds[[s]], VALIDATION, rng)[0][0].astype(float) for s in range(seeds)
    ]
    best = [int(part.mean(axis=1).argmax()) for part in validation]
    pairs = [(100.0 * r, 100.0 * o, b) for r, o, b in zip(right, other, best, strict=True)]
    return Simulated(
        Estimator(correctness),
        ([r[b] - o for r, o, b in pairs], [r.mean(axis=0) - o for r, o, _ in pairs]),
        [100 * part.mean(axis=0) for part in validation],
        COST * rng.normal(size=(seeds, len(generator.design))),
    )


def estimates(simulated: Simulated) -> dict[str, Estimate]:
    """Claims about one effect on a simulated study, by the code that judges real ones."""
    one, (chosen, average) = simulated.estimator, simulated.classical
    deepest = int(one.design["freeze"].max())
    single = {
        full_level(factor, level): estimate
        for factor in contrasts.varied(one)
        for level, estimate in contrasts.each_level(one, factor).items()
    }
    return single | {
        "trend": contrasts.trend(one),
        "classical": contrasts.chosen_minus_other(one, chosen, average),
        "optimism": contrasts.validation_minus_test(one, simulated.validation),
        "time or memory": contrasts.saved(simulated.logs, one.design, deepest),
    }


def truths(generator: Generator) -> dict[str, float]:
    """What their intervals are to cover, as far as the generator says it."""
    design, accuracy = generator.design, generator.accuracies
    true = {"trend": contrasts.trend_weights(design) @ accuracy}
    for factor in design.columns.drop("number"):
        if factor != "words":
            first, *others = contrasts.levels(design, factor)
            for level in others:
                weights = contrasts.level_weights(design, factor, level, first)
                true[full_level(factor, level)] = weights @ accuracy
    return true | {"optimism": 0.0, "time or memory": 0.0}


def covered_at_once(
    accuracy: np.ndarray, true: dict[str, float], one: Estimator
) -> dict[str, bool]:
    """Whether intervals that promise to hold all at once do so on a simulated study."""
    design, (_, second, *_) = one.design, contrasts.varied(one)
    simple = contrasts.simple_effects(one, "freeze", second)

    def covered(intervals: Iterable[Estimate], values: Iterable[float]) -> bool:
        return all(e.low <= value <= e.high for e, value in zip(intervals, values, strict=True))

    depths = {
        depth: true[full_level("freeze", depth)]
        for depth in contrasts.levels_at_once(one, "freeze")
    }
    looks = [
        contrasts.levels_at_once(
            Estimator(enough.first(one.correctness, seeds)), "freeze", looks=one.seeds - 1
        )
        for seeds in range(2, one.seeds + 1)
    ]
    return {
        "all depths": covered(contrasts.levels_at_once(one, "freeze").values(), depths.values()),
        "all depths, looked at after every seed": all(
            covered(look.values(), depths.values()) for look in looks
        ),
        "configuration 1": covered(contrasts.rivals(one).values(), accuracy[0] - accuracy[1:]),
        "all choices": covered(
            contrasts.all_choices(one).values(),
            [
                true[full_level(factor, level)]
                for factor in contrasts.varied(one)
                for level in contrasts.each_level(one, factor)
            ],
        ),
        "depths at each level of another factor": covered(
            simple.values(),
            [
                contrasts.level_weights(design, "freeze", depth, 0, design[second] == place)
                @ accuracy
                for place, depth in simple
            ],
        ),
    }


def coverage(
    generator: Generator, seeds: int, folds: bool, replicates: int, rng: np.random.Generator
) -> dict[str, float]:
    """Share of studies, per cent, whose interval covers the truth, by claim.

    Of `all depths`, `configuration 1` (against each other), `all choices` and `depths at each level
    of another factor`: whose intervals all cover at once. The truth of `classical` is the mean over
    the studies: what the choice on validation is worth.
    """
    true, accuracy, inside, leads = truths(generator), generator.accuracies, [], []
    for _ in range(replicates):
        simulated = study(generator, seeds, folds, rng)
        intervals = estimates(simulated)
        leads.append(intervals.pop("classical"))
        alone = {name: e.low <= true[name] <= e.high for name, e in intervals.items()}
        inside.append(alone | covered_at_once(accuracy, true, simulated.estimator))
    worth = float(np.mean([estimate.effect for estimate in leads]))
    shares = pd.DataFrame(inside).mean().to_dict()
    shares["classical"] = np.mean([e.low <= worth <= e.high for e in leads])
    return {str(name): round(100 * float(share), 1) for name, share in shares.items()}


# What is simulated: by kind of study, how it differs from what was fitted.
KINDS: dict[str, Callable[[Generator], Generator]] = {
    "as measured": lambda fitted: fitted,
    "no effects": Generator.without_effects,
    "heads that vary more between seeds": head_varies,
    "four factors": four_factors,
    "rates that race": tuned_rates,
    "balanced accuracy": rare_class,
}
# Seeds, and whether each has a fold of its own.
SIZES = [(3, False), (5, False), (4, True)]


def cases(fitted: Generator) -> Iterator[dict[str, object]]:
    """Coverage in every case."""
    for kind, vary in KINDS.items():
        for seeds, folds in SIZES:
            rng = np.random.default_rng([seeds, folds])  # whatever the other cases are
            covered = coverage(vary(fitted), seeds, folds, REPLICATES, rng)
            yield {"kind": kind, "seeds": seeds, "folds": folds, "covered": covered}


def first_elpv() -> Correctness:
    """Who was right on which image in the first 84 runs of `elpv_source`.

    They outlive their records, as the study was made anew: three seeds, one set of 656 images.
    """
    with np.load(paths.RESULTS / "elpv_84_runs.npz") as kept:
        right = np.unpackbits(kept["right"], axis=-1)[..., :TEST_SET].astype(bool)
    return Correctness(table_of(load_study("elpv_source")), [0, 1, 2], list(right), [0, 0, 0])


def main(reference: str | None = None) -> None:
    """Simulate, and write what came out."""
    correctness = of_complete_seeds(load(reference)) if reference else first_elpv()
    runs = len(correctness.seeds) * len(correctness.design)
    fitted = fit(correctness, np.random.default_rng(0))
    shares = {n: round(float(v), 4) for n, v in asdict(fitted).items() if isinstance(v, float)}
    rows = []
    for row in cases(fitted):
        rows.append(row)
        print(json.dumps(row), flush=True)
    content = {
        "study": f"{runs} runs of {reference or 'elpv_source'}",
        "replicates": REPLICATES,
        "generator": shares,
        "cases": rows,
    }
    files.write(Coverage.path(), (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:2])
