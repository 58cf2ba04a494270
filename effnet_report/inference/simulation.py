"""Do the intervals cover what they promise? New seeds and new images from a fitted generator.

`python -m effnet_report.inference.simulation` writes results/simulation.json. A run is right on an
image where a latent normal variable is below a threshold (a probit model); how it correlates
between runs, by what they share, is fitted to runs that share test images: the first 84 of `elpv`,
kept for this since that study is in folds, or those of the study that is named.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import optimize, stats

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study.studies import load_study
from effnet_report.evidence.correctness import Correctness, of_complete_seeds, table_of
from effnet_report.evidence.evidence import load
from effnet_report.inference import contrasts
from effnet_report.inference.seeds_and_images import Estimate, Estimator

TEST_SET, VALIDATION = 656, 492  # images: of one test set, to choose with
POOL = 4 * TEST_SET  # in all folds; a study of which half is trained has seen two of four
CLASSICAL = 0.7  # correlation of what is hard for another kind of model, and for networks
COST = 0.1  # deviation of the logarithm of a run's cost
CASES = [(seeds, False) for seeds in (2, 3, 4, 5, 8)] + [(seeds, True) for seeds in (2, 4, 5, 8)]
REPLICATES = 1_000
WANTED = (93.0, 97.0)  # per cent of studies, for an interval of 95 %


@dataclass(frozen=True)
class Generator:
    """A latent probit model of who is right on what.

    Attributes:
        design: the configurations.
        thresholds: by configuration; its accuracy is the normal probability below.
        image: share of the latent variance that an image has for all runs; the next four: for
            one depth, for one configuration, for one seed, for one depth of one seed.
        depth: deviation of the threshold of one depth between seeds; then of a run, of a seed.
    """

    design: pd.DataFrame
    thresholds: np.ndarray
    image: float
    image_depth: float
    image_run: float
    image_seed: float
    image_seed_depth: float
    depth: float = 0.0
    run: float = 0.0
    seed: float = 0.0

    @property
    def accuracies(self) -> np.ndarray:
        """By configuration, over all seeds and images, per cent."""
        spread = math.sqrt(1 + self.depth**2 + self.run**2 + self.seed**2)
        return 100 * stats.norm.cdf(self.thresholds / spread)

    def without_effects(self) -> "Generator":
        """All configurations alike."""
        return replace(self, thresholds=np.full_like(self.thresholds, self.thresholds.mean()))

    def shifted(self, seeds: int, rng: np.random.Generator) -> np.ndarray:
        """Thresholds of the runs of some new seeds, shape (seeds, configurations)."""
        depths = self.design["freeze"].to_numpy()
        shift = self.depth * rng.normal(size=(seeds, depths.max() + 1))[:, depths]
        shift += self.run * rng.normal(size=shift.shape) + self.seed * rng.normal(size=(seeds, 1))
        return self.thresholds + shift

    def judge(
        self, thresholds: np.ndarray, images: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Runs judged on new images that all of them share.

        Args:
            thresholds: of the runs, shape (seeds, configurations).
            images: number of them.
            rng: source of chance.

        Returns:
            Whether each run is right, shape (seeds, configurations, images); and another kind of
            model, shape (seeds, images).
        """
        (seeds, runs), depths = thresholds.shape, self.design["freeze"].to_numpy()

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
        return latent < thresholds[:, :, None], other < self.thresholds.mean()


def fit(found: Correctness, rng: np.random.Generator) -> Generator:
    """Match the correlations and mean squares of runs that share their test images.

    Raises:
        InputError: the seeds share no test images, so image and image x seed cannot be told apart.
    """
    if found.folds or len(found.seeds) < 2:
        raise InputError("The generator is fitted to two seeds or more that share a test set.")
    right = np.stack(found.right).astype(float)
    accuracy, depths = right.mean(axis=2), found.design["freeze"].to_numpy()
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
        design=found.design,
        thresholds=stats.norm.ppf(accuracy.mean(axis=0)),
        image=image,
        image_depth=max(0.0, depth - image),
        image_run=max(0.0, run - depth),
        image_seed=max(0.0, seed - image),
        image_seed_depth=max(0.0, correlation(True, "depth") - depth - max(0.0, seed - image)),
    )
    return _with_seeds(flat, Estimator(found), rng)


def _with_seeds(flat: Generator, measured: Estimator, rng: np.random.Generator) -> Generator:
    """Add the differences between seeds that images do not explain."""

    def squares(one: Estimator) -> np.ndarray:
        between = one.found.accuracies.mean(axis=1).var(ddof=1)
        return np.array([one.depths.mean_square, one.pairs.mean_square, between])

    alone = np.mean([squares(study(flat, measured.seeds, False, rng).estimator)
                     for _ in range(40)], axis=0)  # fmt: skip
    depths, pairs, between = squares(measured) - alone
    repeats = len(flat.design) / flat.design["freeze"].nunique()
    steep = 100 * float(stats.norm.pdf(flat.thresholds.mean()))
    run = max(0.0, pairs)
    depth = max(0.0, (depths - run) / repeats)
    return replace(
        flat,
        depth=math.sqrt(depth) / steep,
        run=math.sqrt(run) / steep,
        seed=math.sqrt(max(0.0, between)) / steep,
    )


@dataclass(frozen=True)
class Simulated:
    """A simulated study: its test images, and what else the claims need."""

    estimator: Estimator
    classical: tuple[list[np.ndarray], list[np.ndarray]]
    validation: list[np.ndarray]
    logs: np.ndarray


def study(generator: Generator, seeds: int, folds: bool, rng: np.random.Generator) -> Simulated:
    """New seeds, judged on new images: all on one test set, or each on a share of its own."""
    thresholds = generator.shifted(seeds, rng)
    if folds:
        own = min(TEST_SET, POOL // seeds)
        parts = [generator.judge(thresholds[[s]], own, rng) for s in range(seeds)]
        right, other = [part[0][0] for part in parts], [part[1][0] for part in parts]
    else:
        shared, others = generator.judge(thresholds, TEST_SET, rng)
        right, other = list(shared), list(others)
    found = Correctness(
        generator.design, list(range(seeds)), right, list(range(seeds)) if folds else [0] * seeds
    )
    validation = [
        generator.judge(thresholds[[s]], VALIDATION, rng)[0][0].astype(float) for s in range(seeds)
    ]
    best = [int(part.mean(axis=1).argmax()) for part in validation]
    pairs = [(100.0 * r, 100.0 * o, b) for r, o, b in zip(right, other, best, strict=True)]
    return Simulated(
        Estimator(found),
        ([r[b] - o for r, o, b in pairs], [r.mean(axis=0) - o for r, o, _ in pairs]),
        [100 * part.mean(axis=0) for part in validation],
        COST * rng.normal(size=(seeds, len(generator.design))),
    )


def estimates(simulated: Simulated) -> dict[str, Estimate]:
    """Claims about one effect on a simulated study, by the code that judges real ones."""
    one, (chosen, average) = simulated.estimator, simulated.classical
    deepest = int(one.design["freeze"].max())
    return {
        **{f"freeze {n}": estimate for n, estimate in contrasts.each_depth(one).items()},
        "trend": contrasts.trend(one),
        "head": contrasts.choice(one, "head"),
        "schedule": contrasts.choice(one, "scheduler"),
        "classical": contrasts.chosen_minus_other(one, chosen, average),
        "optimism": contrasts.validation_minus_test(one, simulated.validation),
        "time or memory": contrasts.saved(simulated.logs, one.design, deepest),
    }


def truths(generator: Generator) -> dict[str, float]:
    """What their intervals are to cover, as far as the generator says it."""
    design, accuracy = generator.design, generator.accuracies
    true = {
        f"freeze {n}": contrasts.depth_weights(design, n) @ accuracy
        for n in sorted(design["freeze"].unique())[1:]
    }
    return true | {
        "trend": contrasts.trend_weights(design) @ accuracy,
        "head": contrasts.choice_weights(design, "head", "mlp", "none") @ accuracy,
        "schedule": contrasts.choice_weights(design, "scheduler", "cosine", "plateau") @ accuracy,
        "optimism": 0.0,
        "time or memory": 0.0,
    }


def covered_at_once(generator: Generator, one: Estimator) -> dict[str, bool]:
    """Whether intervals that promise to hold all at once do so on a simulated study."""
    true, accuracy = truths(generator), generator.accuracies
    by_depth = {n: true[f"freeze {n}"] for n in contrasts.each_depth(one)}
    choices = [*by_depth.values(), true["head"], true["schedule"]]

    def covered(found: Iterable[Estimate], values: Iterable[float]) -> bool:
        return all(e.low <= value <= e.high for e, value in zip(found, values, strict=True))

    return {
        "all depths": covered(contrasts.depths_at_once(one).values(), by_depth.values()),
        "configuration 1": covered(contrasts.rivals(one).values(), accuracy[0] - accuracy[1:]),
        "all choices": covered(contrasts.all_choices(one).values(), choices),
    }


def coverage(
    generator: Generator, seeds: int, folds: bool, replicates: int, rng: np.random.Generator
) -> dict[str, float]:
    """Share of studies, per cent, whose interval covers the truth, by claim.

    Of `all depths`: whose six intervals cover at once; of `configuration 1`: whose 27 against each
    other configuration do; of `all choices`: whose eight of the first page do. The truth of
    `classical` is the mean over the studies: what the choice on validation is worth.
    """
    true, inside, kept = truths(generator), [], []
    for _ in range(replicates):
        simulated = study(generator, seeds, folds, rng)
        found = estimates(simulated)
        kept.append(found.pop("classical"))
        alone = {name: e.low <= true[name] <= e.high for name, e in found.items()}
        inside.append(alone | covered_at_once(generator, simulated.estimator))
    worth = float(np.mean([estimate.effect for estimate in kept]))
    shares = pd.DataFrame(inside).mean().to_dict()
    shares["classical"] = np.mean([e.low <= worth <= e.high for e in kept])
    return {str(name): round(100 * float(share), 1) for name, share in shares.items()}


def cases(fitted: Generator) -> Iterator[dict[str, object]]:
    """Coverage in every case, with the effects that were measured and with none."""

    def case(effects: bool, seeds: int, folds: bool) -> dict[str, object]:
        generator = fitted if effects else fitted.without_effects()
        rng = np.random.default_rng([effects, seeds, folds])  # whatever the other cases are
        covered = coverage(generator, seeds, folds, REPLICATES, rng)
        return {"effects": effects, "seeds": seeds, "folds": folds, "covered": covered}

    side_by_side = Parallel(n_jobs=-1, return_as="generator")
    yield from side_by_side(delayed(case)(e, *c) for e in (True, False) for c in CASES)


def title(seeds: int, folds: bool) -> str:
    """A case in words."""
    if not folds:
        return f"{seeds} seeds"
    of = POOL // TEST_SET
    return f"{seeds} of {of} folds" if seeds < of else f"{seeds} folds"


def result() -> Path:
    """What was simulated last."""
    return paths.RESULTS / "simulation.json"


def first_elpv() -> Correctness:
    """Who was right on which image in the first 84 runs of `elpv`.

    They outlive their records, as the study was made anew: three seeds, one set of 656 images.
    """
    with np.load(paths.RESULTS / "elpv_84_runs.npz") as kept:
        right = np.unpackbits(kept["right"], axis=-1)[..., :TEST_SET].astype(bool)
    return Correctness(table_of(load_study("elpv")), [0, 1, 2], list(right), [0, 0, 0])


def main(reference: str | None = None) -> None:
    """Simulate, and write what came out."""
    found = of_complete_seeds(load(reference)) if reference else first_elpv()
    runs = len(found.seeds) * len(found.design)
    fitted = fit(found, np.random.default_rng(0))
    shares = {n: round(float(v), 4) for n, v in asdict(fitted).items() if isinstance(v, float)}
    rows = []
    for row in cases(fitted):
        rows.append(row)
        print(f"{len(rows)} of {2 * len(CASES)} cases: {json.dumps(row)}", flush=True)
    content = {
        "study": f"{runs} runs of {reference or 'elpv'}",
        "replicates": REPLICATES,
        "generator": shares,
        "cases": rows,
    }
    files.write(result(), (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:2])
