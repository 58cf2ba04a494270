"""Objects that are in several images are remarked if nobody has named the groups."""

from pathlib import Path

import pandas as pd
import pytest

from effnet_core.data.layout.groups import objects_of
from effnet_core.data.layout.listing import Listing
from effnet_core.data.layout.objects import recurring_objects


def listing(names: list[str], **columns: list[str]) -> Listing:
    kinds = [name.split("/")[0] for name in names]
    if columns:
        columns = {"path": names, "label": kinds} | columns
    files = [Path(name) for name in names]
    return Listing(kinds, names, files, pd.DataFrame(columns, index=names), [], [])


def images(template: str, objects: int = 8, views: int = 3) -> list[str]:
    """Paths of the images of some objects, half of them of each class."""
    return [
        template.format(kind=("cat", "dog")[number % 2], object=number, view=view)
        for number in range(objects)
        for view in range(views)
    ]


PLAIN = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(12)]
HASH = "{view}f8e2d1c0b9a8d7c6b5a4f3e2d1c0b9a"
UUID = "0f8e2d1{view}-0b9a-4d7c-86b5-a4f3e2d1c0b9"


@pytest.mark.parametrize(
    "template",
    [
        "{kind}/p{object}/scan{view}.png",
        "{kind}/film_{object:03}/{view}.png",
        "train/{kind}/patient {object}/{view}.jpg",
        "{kind}/person{object}_bacteria_{view}.jpeg",
        "{kind}/CNV-10160{object:02}-{view}.jpeg",
        "{kind}/000013{object:02}_00{view}.png",
        "{kind}/IMG_{object}_jpg.rf." + HASH + ".jpg",
        "{kind}/aug_{object}_8123{view}.png",
        "{kind}/cat_original_{object}.jpg_" + UUID + ".jpg",
    ],
)
def test_names_that_recur_are_remarked_and_the_rule_given_keeps_them_together(template):
    there = listing(images(template))
    (remark,) = recurring_objects(there)
    assert "24 images" in remark
    assert "the 3 " in remark
    rule = remark.partition("give --groups '")[2].partition("';")[0]
    objects, _ = objects_of(there, rule)
    assert objects.reshape(8, 3).std(axis=1).max() == 0
    assert len(set(objects.tolist())) == 8


@pytest.mark.parametrize(
    "name", ["patient_id", "PatientID", "lesion", "subject no", "groupId", "site"]
)
def test_a_column_of_objects_is_remarked_and_can_be_given(name):
    patients = [f"p{number // 3}" for number in range(24)]
    there = listing(PLAIN, **{name: patients})
    (remark,) = recurring_objects(there)
    assert f"column {name} is not used, and 24 images share its value" in remark
    assert f"--groups {name};" in remark.replace("'", "")
    assert len(set(objects_of(there, name)[0].tolist())) == 8


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient_id", [f"p{number}" for number in range(24)]),  # one image each
        ("patient_age", [str(number // 3) for number in range(24)]),
        ("case_control", ["case", "control"] * 12),
        ("camera", ["left", "right"] * 12),  # too few to be divided
        ("plant", ["rose"] * 8 + ["tulip"] * 8 + ["lily"] * 8),
        ("class_id", [str(number // 12) for number in range(24)]),
    ],
)
def test_columns_of_other_things_are_not(name, values):
    names = PLAIN
    if name == "plant":  # the label in other words
        names = [f"{value[0]}/{number}.png" for number, value in enumerate(values)]
    assert recurring_objects(listing(names, **{name: values})) == []


@pytest.mark.parametrize(
    "names",
    [
        PLAIN,
        [f"{kind}/IMG_{number:04}.jpg" for kind in ("cat", "dog") for number in range(12)],
        [f"cat/2024050{number % 3}_10{number:04}.jpg" for number in range(24)],
        [f"class{number % 2}/scan_{number}.png" for number in range(24)],
        [f"{kind}/{word}/{number}.png" for kind in "ab" for word in "xy" for number in range(6)],
        images("{kind}/{object}_{view}.png", objects=2),
    ],
)
def test_names_that_only_count_are_not(names):
    assert recurring_objects(listing(names)) == []
