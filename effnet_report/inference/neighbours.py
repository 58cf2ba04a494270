"""Whether images with neighbouring numbers, on both sides of a split, flatter accuracy."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm

from effnet_core.study.schema import Record
from effnet_report.evidence.evidence import Evidence
from effnet_report.measurements.consecutive import Consecutive


@dataclass(frozen=True)
class Change:
    """Accuracy with blocks of neighbours on one side of a split, minus that of a random split.

    Attributes:
        frozen: stages.
        block: neighbouring images that stay on one side.
        seeds: of the random split.
        random: accuracy with the random split, on all images, per cent.
        effect: points; low and high end its 95 % interval for other blocks.
    """

    frozen: int
    block: int
    seeds: int
    random: float
    effect: float
    low: float
    high: float


def changes(evidence: Evidence, measured: Consecutive | None) -> list[Change]:
    """The change at each depth that was measured, on the images that both splits have tested.

    Nothing for other studies than the one whose protocol was measured.
    """
    if measured is None or evidence.design.name != measured.study:
        return []
    runs = {frozen: _runs(evidence, measured, frozen) for frozen in measured.right}
    return [_change(evidence, measured, frozen, some) for frozen, some in runs.items() if some]


def _runs(evidence: Evidence, measured: Consecutive, frozen: int) -> list[Record]:
    levels = measured.levels | {"freeze": frozen}
    return [r for r in evidence.finished if levels.items() <= r.settings.levels.items()]


def _change(evidence: Evidence, measured: Consecutive, frozen: int, runs: list[Record]) -> Change:
    table = pd.concat(evidence.predictions(record) for record in runs)
    number = table.index.str.extract(r"(\d+)$", expand=False).astype(int).to_numpy() - 1
    apart = np.array(list(measured.right[frozen])) == "1"
    random = (table["label"] == table["predicted"]).to_numpy()
    difference = 100.0 * (apart[number].astype(float) - random)
    # Neighbours are alike, so a block counts as one observation.
    fit = sm.OLS(difference, np.ones(len(difference))).fit(
        cov_type="cluster", cov_kwds={"groups": number // measured.block}, use_t=True
    )
    ((low, high),) = fit.conf_int()
    seeds, accuracy = len({record.settings.seed for record in runs}), 100.0 * float(random.mean())
    effect = float(fit.params[0])
    return Change(frozen, measured.block, seeds, accuracy, effect, float(low), float(high))
