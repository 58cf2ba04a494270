"""How much neighbouring images on both sides of a split flatter accuracy."""

import numpy as np
import pytest
from factories import use_folders

from effnet_core.errors import InputError
from effnet_report.evidence import evidence
from effnet_report.inference import neighbours
from effnet_report.measurements.consecutive import Consecutive

CELLS, BLOCK = 2624, 100
LEVELS = {"head": "none", "scheduler": "cosine"}


@pytest.fixture(scope="module")
def random_split():
    """The published main study, and which of all cells its models have right, where tested."""
    found = evidence.load("published/elpv")
    right = np.full(CELLS, True)
    for record in found.finished:
        if record.settings.levels == LEVELS | {"freeze": 6}:
            table = found.predictions(record)
            number = [int(name.removeprefix("cell")) - 1 for name in table.index]
            right[number] = (table["label"] == table["predicted"]).to_numpy()
    return found, right


def measured(right: np.ndarray, study: str = "elpv") -> Consecutive:
    return Consecutive(
        study=study,
        levels=LEVELS,
        block=BLOCK,
        right={6: "".join(map(str, right.astype(int)))},
        commit="",
        hardware={},
    )


def test_equal_models_make_no_difference(random_split):
    found, right = random_split
    (change,) = neighbours.changes(found, measured(right))
    assert (change.frozen, change.block, change.effect, change.low, change.high) == (
        6,
        BLOCK,
        0,
        0,
        0,
    )


def test_a_loss_in_all_blocks_is_found_and_one_in_a_single_block_is_not_beyond_doubt(random_split):
    """As many cells are lost both times; that blocks are alike is what makes the difference."""
    found, right = random_split
    rng = np.random.default_rng(0)
    spread, together = right.copy(), right.copy()
    spread[rng.permutation(CELLS)[: 2 * BLOCK]] = False
    together[: 2 * BLOCK] = False
    (everywhere,) = neighbours.changes(found, measured(spread))
    (somewhere,) = neighbours.changes(found, measured(together))
    assert everywhere.effect == pytest.approx(somewhere.effect, abs=1)
    assert everywhere.high < 0 < somewhere.high


def test_another_study_is_not_compared(random_split):
    found, right = random_split
    assert neighbours.changes(found, measured(right, study="fashion")) == []
    assert neighbours.changes(found, None) == []


def test_a_damaged_measurement_is_named(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    Consecutive.path().parent.mkdir(exist_ok=True)
    Consecutive.path().write_text(measured(np.array([True])).model_dump_json()[:-5])
    with pytest.raises(InputError, match=r"consecutive\.json is damaged\. Restore it"):
        Consecutive.load()
