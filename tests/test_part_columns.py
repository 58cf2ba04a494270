"""The column of a table that says which part of the data set each image belongs to."""

import pandas as pd
import pytest
from PIL import Image

from effnet_core.data.datasets import imagefolder
from effnet_core.data.layout.part_columns import parts_of
from effnet_core.errors import InputError

TRAIN_TEST = ["train", "train", "test"]


def parts(column, values, groups=None):
    """What a table says whose images are called a, b and so on."""
    names = [*map(chr, range(97, 97 + len(values)))]
    return parts_of(pd.DataFrame({column: list(values)}, names, dtype=str), groups)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("part", ("train", "val", " Test")),
        ("Set", ("trainset", "trainset", "testset")),
        ("split", ("traindata", "valdata", "test images")),
        ("fold", ("train_a", "train_a", "test_a")),
        ("is_test", ("trainset", "trainset", "testset")),
        ("subset", ("trainval", "trainval", "test")),
        ("Usage", ("Training", "Training", "publictest")),
        ("data set", ("Training", "Training", "PublicTest")),
        ("usage", ("train", "train", "hold-out")),
        ("role", ("TRN", "TRN", "heldOut")),
        ("Teil", ("Trainingsdaten", "Trainingsdaten", "Testdaten")),
    ],
)
def test_words_for_parts_in_a_column_are_parts(column, values):
    found, remarks = parts(column, values)
    assert [part == "test" for part in found] == [False, False, True]
    assert remarks == []


@pytest.mark.fault("parts that are not used")
@pytest.mark.parametrize("column", ["split", "Set", "fold", "is_test", "istest", "testset"])
@pytest.mark.parametrize("values", ["AAB", ("tr", "tr", "te"), ("train_a", "train_a", "test_b")])
def test_words_that_may_be_parts_are_refused(column, values):
    with pytest.raises(InputError, match=rf"Column {column} .* by .*{values[2]}.*or rename"):
        parts(column, values)


@pytest.mark.fault("parts that are not used")
@pytest.mark.parametrize(
    "column",
    [
        *("is_test", "istest", "isTrainSet", "testset", "Test", "in training set", "for_testing"),
        *("hold_out", "heldout"),
        *("in_training", "split", "split_id", "data_split", "train_test_split", "train_or_test"),
        *("traintestsplit", "partition", "setid"),
    ],
)
@pytest.mark.parametrize("flags", ["011", ("True", "False", "True"), ("no", "yes", "no")])
def test_a_column_that_says_yes_and_no_to_a_part_is_refused(column, flags):
    with pytest.raises(InputError, match=f"Column {column} says which images.*in a column part"):
        parts(column, flags)


@pytest.mark.fault("parts that are not used")
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("fold", "123"),
        ("cv_fold", "010"),
        ("split", "xxx"),
        ("part", [f"part {place}" for place in range(30)]),
        ("val", ("0.1", "0.2", "0.3")),
    ],
)
def test_a_column_of_no_parts_whose_name_seems_to_say_so_is_told(column, values):
    found, (remark,) = parts(column, values)
    assert set(found) == {""}
    assert f"Column {column} is not used" in remark


@pytest.mark.fault("parts that are not used")
@pytest.mark.parametrize(
    "values",
    [
        ("train", "internal test", "external test"),
        ("development", "test", "development"),
        ("derivation", "validation", "derivation"),
        ("dev", "test", "prod"),
        ("train", "test", "a", "b", "c"),
        ("test", "", ""),
    ],
)
def test_a_column_some_of_whose_values_seem_to_mean_parts_is_told(values):
    found, (remark,) = parts("cohort", values)
    assert set(found) == {""}
    assert remark.startswith("Look twice: column cohort is not used")
    assert parts("cohort", values, groups="Cohort")[1] == []


def test_parts_without_training_images_in_a_column_of_another_name_are_used_and_told():
    found, (remark,) = parts("status", ("valid", "testing"))
    assert found == ["val", "test"]
    assert remark.startswith("Look twice: column status is taken to say")


def test_parts_that_are_put_together_are_told():
    for column in ("split", "usage"):
        _, (remark,) = parts(column, ("train", "val", "train"))
        assert remark.startswith("The parts train, val are put together")
    _, (remark,) = parts("split", ("train", "pred", "test"))
    assert "1 images are said to be unlabeled, but have labels" in remark


def test_an_unused_column_that_could_hold_labels_may_name_parts():
    table = pd.DataFrame(
        {"file": list("abc"), "label": list("xyx"), "Category": TRAIN_TEST}, list("abc")
    )
    with pytest.raises(InputError, match="Category names parts"):
        parts_of(table.assign(Category=["train", "test", "?"]), None)
    assert parts_of(table, None)[0] == TRAIN_TEST


def test_folders_of_parts_in_a_table_that_names_none_are_told():
    table = pd.DataFrame(
        {"path": list("abc"), "label": list("aba")}, index=["train/1", "train/2", "test/3"]
    )
    _, (remark,) = parts_of(table, None)
    assert remark.startswith("Look twice: the images are in folders that are called like parts")
    assert parts_of(table.assign(part=TRAIN_TEST), None)[1] == []
    assert parts_of(table.set_axis(["train/1", "bus/2", "bus/3"]), None)[1] == []


@pytest.mark.parametrize("column", ["exclude", "Ignore", "use_image", "is_usable", "deleted"])
@pytest.mark.parametrize("flags", ["011", ("yes", "", "yes")])
def test_a_column_that_seems_to_say_which_images_not_to_use_is_told(column, flags):
    found, remarks = parts(column, flags)
    assert found == [""] * 3
    (remark,) = remarks
    assert remark.startswith(f"Look twice: column {column} is not used")


@pytest.mark.parametrize(
    ("column", "values"),
    [("land_use", "011"), ("exclude", "000"), ("use", ("farm", "park", "road"))],
)
def test_columns_that_choose_nothing_are_left_alone(column, values):
    assert parts(column, values)[1] == []


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("invalid", ("yes", "no", "no")),
        ("test_id", "121"),
        ("test score", "121"),
        ("body part", "aab"),
        ("usage", ("home", "office", "")),
        ("quality", ("valid", "invalid", "valid")),
        ("object", ("train", "bus", "")),
        ("place", ("household outing", "train station", "bus")),
        ("usage", ("test", "test", "test")),
        ("note", ["test", *(f"note {place}" for place in map(chr, range(97, 123)))]),
        ("manifold", "aab"),
        ("kind", ("train", "train", "train")),
        ("split", ("", "", "")),
    ],
)
def test_other_columns_are_left_alone(column, values):
    assert parts(column, values) == ([""] * len(values), [])


def test_a_column_that_names_the_groups_need_not_name_parts():
    assert parts("Set", ("I", "I", "II"), groups="set") == ([""] * 3, [])
    assert parts("set", TRAIN_TEST, groups="set")[0] == TRAIN_TEST


def test_a_column_of_parts_and_others_or_two_that_differ_are_refused():
    for column in ("split", "usage"):
        with pytest.raises(InputError, match=f"Column {column} names parts, such as .* with 'x'"):
            parts(column, ("train", "test", "x"))
    with pytest.raises(InputError, match=r"names parts, .* not for 1 images, .* an empty cell"):
        parts("usage", ("Training", "PublicTest", ""))
    table = pd.DataFrame({"part": TRAIN_TEST, "split": TRAIN_TEST[::-1]}, list("abc"))
    with pytest.raises(InputError, match="part, split put images in different parts"):
        parts_of(table, None)


def test_what_a_table_says_of_parts_reaches_the_data_set(tmp_path):
    for name in ("1.png", "2.png", "3.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label,split,fold\n1.png,a,train,1\n2.png,b,Test,2\n3.png,b,val,3\n")
    dataset = imagefolder(None, str(labels))
    assert dataset.official_test.tolist() == [False, True, False]
    assert ["fold" in remark for remark in dataset.remarks] == [True]
