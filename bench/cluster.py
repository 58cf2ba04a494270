"""How long a study of the source's network would take on many GPUs: simulated, not measured.

`python -m bench.cluster published/elpv_source` writes results/cluster.json. The runs of
`studies/paper.yml` are put on GPUs in the order of a sweep. How long one takes follows from its
arithmetic, and from epochs drawn from those that committed runs took before they stopped early.
"""

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from effnet_core.errors import InputError
from effnet_core.study.design import FREEZE, Study
from effnet_core.study.schema import Record
from effnet_core.study.studies import load_study
from effnet_report.evidence import loader
from effnet_report.measurements.cluster import Cluster, ClusterRow
from effnet_report.measurements.gpu import Gpu
from effnet_report.sweep import sweep
from effnet_report.sweep.tasks import Task, tasks_of

GPUS, ON_A_NODE, SEEDS = (1, 4, 16, 64), 4, 5
MORE_SEEDS = (10, 20)  # on the most GPUs
FIXED = 30.0  # seconds of a run in which its GPU computes nothing: starting, weights, data
REPLICATES = 200


@dataclass(frozen=True)
class Work:
    """What runs cost.

    Attributes:
        prefix: share of the forward pass in the frozen stages, by depth.
        cached: whether the activations of a depth are cached on a node's disk.
        forward: seconds of one image's forward pass.
        images: for training, validation and test.
        epochs: that committed runs took, by depth.
    """

    prefix: Sequence[float]
    cached: Sequence[bool]
    forward: float
    images: tuple[int, int, int]
    epochs: Sequence[Sequence[int]]

    def seconds(self, depth: int, epochs: int) -> tuple[float, float, float]:
        """Of filling the node's cache, of the first epoch, and of all the rest."""
        train, validation, test = (count * self.forward for count in self.images)
        share, computed = self.prefix[depth], not self.cached[depth]
        epoch = 3 * (1 - share) * train + (1 - share) * validation
        epoch += computed * share * (train + validation)
        last = (1 - share + computed * share) * (validation + test)
        fill = (1 - computed) * share * (train + validation + test)
        return fill, epoch, (epochs - 1) * epoch + last + FIXED


@dataclass(frozen=True)
class Order:
    """How waiting runs are put on GPUs that get free.

    Attributes:
        sort: the order in which they wait, on a number of GPUs.
        to_caches: a node first takes what it keeps the activations of, if any such run waits.
    """

    name: str
    sort: Callable[[list[Task], int], list[Task]]
    to_caches: bool = False


def _longest(tasks: list[Task], _: int) -> list[Task]:
    return sorted(tasks, key=sweep.relative_time, reverse=True)


def _as_on_ray(tasks: list[Task], _: int) -> list[Task]:
    return sweep.longest_first(tasks)


ORDERS = (
    Order("as in Table 1, seed by seed", lambda tasks, _: tasks),
    Order("longest first in each seed, as sweeps on one machine do", sweep.in_order),
    Order("longest first over all seeds", _longest),
    Order("the same, one schedule after the other, as sweeps on Ray do", _as_on_ray),
    Order("the same, and a node first takes depths that it keeps", _as_on_ray, to_caches=True),
)
ON_RAY = ORDERS[3]


def makespan(
    tasks: list[Task], epochs: Sequence[int], work: Work, gpus: int, order: Order
) -> float:
    """Seconds until the last of all runs has ended.

    Args:
        epochs: of each task.
    """
    takes = dict(zip((task.run_id for task in tasks), epochs, strict=True))
    waiting = list(order.sort(tasks, gpus))
    free = [(0.0, gpu) for gpu in range(gpus)]
    filled: dict[tuple[int, int], float] = {}  # by node and depth: when
    begun: dict[tuple[int, str, int], float] = {}  # first epochs, likewise
    end = 0.0
    while waiting:
        now, gpu = heapq.heappop(free)
        node = gpu // ON_A_NODE
        place = 0
        if order.to_caches:
            held = (i for i, t in enumerate(waiting)
                    if filled.get((node, t.settings.freeze), np.inf) <= now)  # fmt: skip
            place = next(held, 0)
        task = waiting.pop(place)
        run = task.settings
        fill, first, rest = work.seconds(run.freeze, takes[task.run_id])
        twin = (run.freeze, run.head, run.seed)
        seconds = rest
        if begun.get(twin, np.inf) > now:
            seconds += first
            begun.setdefault(twin, now + first)
        if filled.get((node, run.freeze), np.inf) > now:
            seconds += fill
            filled.setdefault((node, run.freeze), now + fill + first)
        heapq.heappush(free, (now + seconds, gpu))
        end = max(end, now + seconds)
    return end


def rows(work: Work, study: Study, rng: np.random.Generator) -> Iterator[ClusterRow]:
    """Each order on each number of GPUs: hours, and share of the GPUs' time that was of use.

    Efficiency is the time on one GPU, in the order of sweeps on Ray, over GPUs times makespan. It
    is bound by the longest run, which is not split.
    """
    cases = [(gpus, SEEDS) for gpus in GPUS] + [(GPUS[-1], seeds) for seeds in MORE_SEEDS]
    for gpus, seeds in cases:
        design = study.model_copy(update={"seeds": list(range(seeds))})
        tasks = [task for task in tasks_of(design, study.name) if "classical" not in task.run_id]
        hours: dict[str, list[float]] = {order.name: [] for order in ORDERS}
        alone, bound = [], []
        for _ in range(REPLICATES):
            epochs = [int(rng.choice(work.epochs[task.settings.freeze])) for task in tasks]
            single = makespan(tasks, epochs, work, 1, ON_RAY)
            alone.append(single)
            longest = max(sum(work.seconds(task.settings.freeze, count)[1:])
                          for task, count in zip(tasks, epochs, strict=True))  # fmt: skip
            bound.append(single / gpus / max(single / gpus, longest))
            for order in ORDERS:
                hours[order.name].append(makespan(tasks, epochs, work, gpus, order))
        for name, seconds in hours.items():
            share = np.array(alone) / gpus / seconds
            yield ClusterRow(
                gpus=gpus, seeds=seeds, runs=len(tasks), order=name,
                hours=round(float(np.mean(seconds)) / 3600, 3),
                efficiency=round(float(share.mean()), 3),
                low=round(float(np.quantile(share, 0.05)), 3),
                high=round(float(np.quantile(share, 0.95)), 3),
                bound=round(float(np.mean(bound)), 3),
            )  # fmt: skip


def measured() -> tuple[str, float]:
    """A GPU, and FLOP a second that a step with nothing frozen does on it.

    Raises:
        InputError: none was measured.
    """
    gpu = Gpu.load()
    if gpu is None:
        raise InputError("results/gpu.json is missing: python -m bench.gpu makes it, on a GPU.")
    step = next(
        s for s in gpu.steps if (s.freeze, s.precision, s.form) == (0, "float32", "computed")
    )
    return gpu.machine["gpu"], step.flop / step.seconds


def work_of(study: Study, reference: str, speed: float) -> Work:
    """What the runs of a study cost, with images and epochs as committed runs had them.

    Args:
        speed: of a GPU, FLOP a second. It scales all times but `FIXED`.

    Raises:
        InputError: nothing is committed under this name.
    """
    # Here, as they import PyTorch, and the page reads only what came out.
    from effnet_core.model.backbones import build_network  # noqa: PLC0415
    from effnet_core.model.cost import stage_costs, worth_caching  # noqa: PLC0415
    from effnet_report.sweep.plan import cost_of  # noqa: PLC0415

    records = [r for r in loader.load(reference).believed.values() if isinstance(r, Record)]
    if not records:
        raise InputError(f"There are no records of {reference}: nothing says how long runs train.")
    facts = records[0].facts
    protocol = study.protocol
    stages = stage_costs(build_network(protocol.backbone), protocol.image_size)
    shares = [sum(s.flop_share for s in stages[: n + 1]) if n else 0.0 for n in FREEZE]
    step = cost_of(next(study.runs()), len(facts.classes))
    return Work(
        prefix=[round(share, 4) for share in shares],
        cached=[n > 0 and worth_caching(stages, n) for n in FREEZE],
        forward=(step.prefix_flop + step.suffix_flop) / protocol.batch_size / speed,
        images=(facts.train_images, facts.validation_images, facts.test_images),
        epochs=[
            [len(r.outcome.history) for r in records if r.settings.freeze == n] for n in FREEZE
        ],
    )


def main(reference: str) -> None:
    """Simulate, and write what came out."""
    study = load_study("paper")
    gpu, speed = measured()
    work = work_of(study, reference, speed)
    Cluster(
        study=study.name,
        epochs_of=reference,
        gpu=gpu,
        speed=speed,
        fixed=FIXED,
        on_a_node=ON_A_NODE,
        replicates=REPLICATES,
        used=ON_RAY.name,
        rows=list(rows(work, study, np.random.default_rng(0))),
        **asdict(work),
    ).save()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "published/elpv_source")
