"""Folders that hold classes, repeat them or belong to them, told apart by the names inside."""

from pathlib import Path

import pytest
from PIL import Image

from effnet_core.data.datasets import imagefolder
from effnet_core.data.layout.companions import versions
from effnet_core.data.layout.doubts import check_only_photos, few_doubted_photos
from effnet_core.data.layout.layers import doubted_layers
from effnet_core.data.layout.repeats import kinds_of_objects, repeated_folders
from effnet_core.data.layout.sets import sets_of_versions
from effnet_core.errors import InputError
from effnet_report.intake import layouts


@pytest.fixture
def tree(tmp_path):
    """Gives a folder with three images in each of some folders inside."""

    def make(*folders, names=("1.png", "2.png", "3.png")):
        for folder in folders:
            (tmp_path / "p" / folder).mkdir(parents=True)
            for name in names:
                Image.new("L", (4, 4)).save(tmp_path / "p" / folder / name)
        return str(tmp_path / "p")

    return make


SITES = ("hospitalA/ill", "hospitalA/well", "hospitalB/ill", "hospitalB/well")


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (SITES, "folders hospitalA, hospitalB, several of which hold ill, well.*groups"),
        ((*SITES, "hospitalB/other", "hospitalC/ill"), "several of which hold ill, well"),
        (tuple(f"{site}/images" for site in SITES), "several of which hold ill, well"),
        (("x/0", "x/1", "y/0", "y/1"), "several of which hold 0, 1"),
        (("cat", "dog", "resized/cat", "resized/dog"), r"resized holds folders .* \(cat, dog\)"),
        (("hospitalA/front", *SITES), "several of which hold ill, well, so either"),
        (("cat", "dog", "old/Cats", "old/Dogs"), r"old holds folders .* \(Cats, Dogs\)"),
        (("cat", "dog", "small/Cat"), r"small holds folders .* \(Cat\)"),
        (("2019/cat", "2019/dog", "2020/cat", "2020/dog"), "numbered pieces"),
        (("cat", "dog", "cat_gt", "dog_gt"), "masks or annotations .* 6 in all"),
        (("cat", "dog", "cat labels"), "masks or annotations"),
        (("Original", "Ground Truth"), "masks or annotations .* 3 in all, such as Ground Truth"),
        (("raw", "ground-truth"), "masks or annotations"),
        (("rgb", "gt"), "masks or annotations"),
        (("photo", "label"), "masks or annotations"),
        (("images", "1st_manual"), "masks or annotations"),
        (("scans", "lbl"), "masks or annotations"),
        (("train_set", "other"), "train_set looks like a part of a data set"),
        (("cat", "dog", "thumbnails"), "thumbnails .* 3 in all"),
        (("trainset/cat", "trainset/dog", "testset/cat", "testset/dog"), "parts of a data set"),
        (("traindata/cat", "testdata/cat"), "parts of a data set"),
        (("trainval/cat", "test/cat"), "parts of a data set"),
    ],
)
def test_folders_that_are_no_classes_are_refused_by_a_study_too(tree, folders, told):
    with pytest.raises(InputError, match=told):
        imagefolder(tree(*folders))


@pytest.mark.parametrize(
    "folders",
    [
        ("cat/images", "dog/images"),
        ("cat/originals", "dog/copies"),
        ("cat", "dog", "bird", "owl", "ant", "cat/wide", "cat/near", "dog/wide", "dog/near"),
        ("cat_gt", "dog"),
        ("cat/raw", "dog/raw"),
        ("cat/raw", "dog/raw", "bird", "owl", "ant", "cat/far"),
        ("cat/images/a", "dog/images/b"),
        ("ill/p01", "ill/p02", "well/p03"),
        ("ill/p01/raw", "ill/p02/raw", "well/p03/raw"),
        ("ill/2020/ann", "ill/2020/bea", "ill/2020/cem", "ill/2020/dan", "ill/2020/eve", "well"),
        ("testament", "trains"),
        ("glas", "glass", "photo", "photocopy", "type1", "type2", "a", "as"),
    ],
)
def test_folders_inside_classes_are_no_doubt_of_themselves(tree, folders):
    dataset = imagefolder(tree(*folders))
    assert dataset.classes == sorted({folder.split("/")[0] for folder in folders})
    asked = [remark for remark in dataset.remarks if "show the same object, give" in remark]
    assert [remark for remark in dataset.remarks if remark not in asked] == []
    assert len(asked) == ("well/p03" in folders)  # not whether these are classes


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("ill/p01", "ill/p02", "well/p01", "well/p02"), "of the same name: p01, p02. If such"),
        (("A/ill", "A/well", "B/ill"), "classes A, B hold folders of the same name: ill."),
        (("A/ill", "A/well", "B/ill", "B/other"), "folders of the same name: ill."),
        (("cat/front", "cat/side", "dog/front", "dog/side"), "of the same name: front, side."),
        (("cat", "dog", "cat_augmented", "dogs"), "nevertheless: cat, cat_augmented; dog, dogs."),
        (("cat (1)", "cat (2)", "dog"), "different classes nevertheless: cat (1), cat (2)."),
        (("cat", "cat - Copy (2)", "dog"), "different classes nevertheless: cat, cat - Copy (2)."),
        (("A/2020/ill", "A/2020/well", "B/2021/ill", "B/2021/well"), "same name: ill, well."),
        (("A/2020/ill", "A/2020/well", "B/2020/Ill", "B/2020/Well"), "same name: ill, well."),
        (("A/2018/ill", "A/2019/well", "B/2018/ill", "B/2019/well"), "ill, well, 2018, 2019."),
        (("A/ill", "A/well", "B/2020/ill", "B/2020/well"), "same name: ill, well."),
        (("A/ill", "B/ill", "C/well"), "of the same name: ill."),
        (("cat", "dog", "cat/dog"), "cat/dog is trained as class cat, but there is a class dog"),
    ],
)
def test_folders_that_may_be_something_else_are_told(tree, folders, told):
    (remark,) = imagefolder(tree(*folders)).remarks
    assert told in remark


@pytest.mark.parametrize(
    "pair",
    [
        ("cat", "cat "),
        ("big cat", "big  cat"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_folders_that_are_one_class_are_told(tree, pair):
    dataset = imagefolder(tree(*pair, "dog"))
    assert dataset.classes == [pair[0], "dog"]
    (remark,) = dataset.remarks
    assert all(ascii(name) in remark for name in pair)
    assert remark.endswith(f"are one class, {pair[0]}.")


def test_parts_without_a_mark_in_their_names_are_parts(tree):
    root = tree("trainset/cat", "trainset/dog", "testset/cat", "testset/dog")
    table, _, _ = layouts.tabulate("mine", Path(root), None)
    assert table["part"].value_counts().to_dict() == {"train": 6, "test": 6}


PARTS = ("train/cat", "train/dog", "test/cat", "test/dog")


@pytest.mark.parametrize("name", ["unlabeled", "pred"])
def test_folders_in_a_part_without_labels_are_no_classes(tree, name):
    root = tree(*PARTS, f"{name}/monday", f"{name}/cat")
    table, _, told = layouts.tabulate("mine", Path(root), None)
    assert set(table["label"]) == {"cat", "dog"}
    assert not table["path"].str.startswith(name).any()
    assert f"{name} means that its images have no labels, so they are left out" in told


def test_a_part_that_has_no_class_of_another_part_is_told(tree):
    _, _, told = layouts.tabulate("mine", Path(tree(*PARTS)), None)
    assert told == ""
    root = tree("val/monday", "val/tuesday")
    _, _, told = layouts.tabulate("mine", Path(root), None)
    assert told.startswith("Look twice: no other part has the classes of val (monday, tuesday)")


def test_a_train_may_be_a_class_of_a_part(tree):
    root = tree("train/train", "train/bus", "test/train", "test/bus")
    table, _, _ = layouts.tabulate("mine", Path(root), None)
    assert table["label"].value_counts().to_dict() == {"train": 6, "bus": 6}


@pytest.mark.parametrize("inner", [("train/cat", "extra"), ("train", "val")])
def test_parts_inside_of_a_part_are_refused(tree, inner):
    root = tree(*(f"{part}/{name}" for part in ("train", "test") for name in inner))
    with pytest.raises(InputError, match="holds parts inside of a part"):
        layouts.tabulate("mine", Path(root), None)


def test_folders_of_the_same_name_in_a_part_are_told(tree):
    root = tree("train/A/ill", "train/A/well", "train/B/ill", "test/A", "test/B")
    _, _, told = layouts.tabulate("mine", Path(root), None)
    assert "several of the classes A, B hold folders of the same name: ill" in told


@pytest.mark.parametrize("parts", [("trn", "tst"), ("train", "hold-out"), ("Training", "HeldOut")])
def test_short_and_divided_words_for_parts_are_parts(tree, parts):
    root = tree(f"{parts[0]}/cat", f"{parts[0]}/dog", f"{parts[1]}/cat")
    table, _, _ = layouts.tabulate("mine", Path(root), None)
    assert table["part"].value_counts().to_dict() == {"train": 6, "test": 3}
    with pytest.raises(InputError, match="parts of a data set"):
        imagefolder(root)


@pytest.mark.fault("names that are formulas")
def test_a_table_made_of_folders_holds_no_formula_and_gives_the_same_classes(tree, tmp_path):
    root = tree("=1+1/train", "=1+1/test", "-1/train", "-1/test")
    table, _, _ = layouts.tabulate("mine", Path(root), None)
    starts = table["path"].str[:4].unique(), table["label"].unique()
    assert [sorted(them) for them in starts] == [["./-1", "./=1"], ["'=1+1", "-1"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    assert imagefolder(root, str(tmp_path / "t.csv")).classes == ["-1", "=1+1"]


BESIDE = {
    "masks or annotations": (
        *("{c}/mask_{i}", "{c}/{i}.mask", "{c}/{i}_mask_0", "{c}/{i} (mask)", "{c}/{i}_masked"),
        *("{c}/{i}_segmented", "{c}/{i}_annotated", "{c}/mask/{i}", "{c}/gt/{i}"),
        *("{c}/masques/{i}", "{c}/seg/seg_{i}", "{c}/mask_images/{i}"),
    ),
    "thumbnails": ("{c}/thumb/{i}", "{c}/{i}_thumb", "{c}/{i}-150x150"),
}


def names(*forms):
    paths = (
        f"{form}.png".format(c=c, i=i) for c in ("cat", "dog") for i in range(5) for form in forms
    )
    return list(dict.fromkeys(paths))


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize("photo", ["{c}/{i}", "{c}/img_{i}"])
@pytest.mark.parametrize(
    ("kind", "form"), [(k, form) for k, them in BESIDE.items() for form in them]
)
def test_masks_and_thumbnails_beside_their_photos_are_refused(photo, kind, form):
    with pytest.raises(InputError, match=rf"holds {kind} .* 10 in all"):
        check_only_photos(Path("p"), names(photo, form))


@pytest.mark.parametrize(("kind", "form"), [(k, them[0]) for k, them in BESIDE.items()])
def test_one_image_of_many_that_is_called_like_a_mask_is_told(kind, form):
    many = [*(f"cat/{i}.png" for i in range(60)), f"{form}.png".format(c="cat", i=7)]
    check_only_photos(Path("p"), many)
    (told,) = few_doubted_photos(many)
    assert told.startswith(f"Look twice: 1 of 61 images is called like {kind}")
    assert many[-1] in told
    few = [*many[:40], many[-1]]
    with pytest.raises(InputError, match="1 in all"):
        check_only_photos(Path("p"), few)
    assert few_doubted_photos(few) == []


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize(
    "inner", ["seg", "gt", "label", "thumb", "masks_png", "my masks 2", "GroundTruth"]
)
def test_masks_and_thumbnails_in_a_folder_beside_that_of_their_photos_are_refused(inner):
    with pytest.raises(InputError, match="10 in all"):
        check_only_photos(Path("p"), names("{c}/rgb/{i}", f"{{c}}/{inner}/{{i}}"))


@pytest.mark.parametrize(
    "forms",
    [
        ("mask/{i}", "no_mask/{i}"),
        ("train/mask/{i}", "train/no_mask/{i}"),
        ("train/thumb/{i}", "train/index/{i}"),
        ("label/{i}", "bottle/{i}"),
        ("ford_gt/ford_gt_{i}", "ford/ford_{i}"),
        ("{c}/label_{i}",),
        ("mask/mask_{i}", "bare/{i}"),
        ("{c}/640x480_{i}",),
        ("ford/gt/{i}", "ford/focus/{i}", "fiat/uno/{i}", "fiat/panda/{i}"),
        ("{c}/label/IMG_{i}", "{c}/cap/IMG_{i}"),
        ("mask_images/{i}", "bare/{i}"),
    ],
)
def test_classes_and_photos_of_such_names_are_photos(forms):
    check_only_photos(Path("p"), names(*forms))
    assert versions(names(*forms)) == []


OBJECTS = (
    ("{c}/{c}{i}/image", "{c}/{c}{i}/mask"),
    ("{c}/p{i}/scan", "{c}/p{i}/segmentation"),
    ("{c}/p{i}/original", "{c}/p{i}/overlay"),
    ("{c}/p{i}/slice_0", "{c}/p{i}/mask_0", "{c}/p{i}/slice_1", "{c}/p{i}/mask_1"),
)


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize("forms", OBJECTS)
def test_a_mask_beside_the_image_of_each_object_is_refused(forms):
    with pytest.raises(InputError, match="masks or annotations beside"):
        check_only_photos(Path("p"), names(*forms))


@pytest.mark.parametrize(
    "forms",
    [
        ("{c}/{c}{i}/t1", "{c}/{c}{i}/t2", "{c}/{c}{i}/mask"),
        ("{c}/p{i}/p{i}", "{c}/p{i}/lesion"),
        ("{c}/p{i}/p{i}_Dermoscopic_Image/p{i}", "{c}/p{i}/p{i}_lesion/p{i}_lesion"),
        ("{c}/A/{c}{i}/17", "{c}/A/{c}{i}/heat"),
    ],
)
def test_images_of_several_kinds_of_each_object_are_told(forms):
    (remark,) = kinds_of_objects(names(*forms))
    assert remark.startswith("Look twice: most folders")


@pytest.mark.parametrize(
    "forms",
    [
        ("{c}/{i}", "{c}/IMG_{i}"),
        ("{c}/p{i}/1", "{c}/p{i}/2"),
        ("{c}/p{i}/IMG_1", "{c}/p{i}/IMG_2"),
        ("{c}/p{i}/left", "{c}/p{i}/right"),
        ("{c}/p{i}/t1", "{c}/p{i}/t2"),
        ("{c}/red/a{i}", "{c}/blue/b{i}"),
    ],
)
def test_objects_with_several_images_of_one_kind_are_no_doubt(forms):
    assert kinds_of_objects(names(*forms)) == []


def test_parts_with_further_words_beside_parts_are_told(tree):
    roots = (f"{part}{more}" for part in ("train", "test") for more in ("", "_roi"))
    root = tree(*(f"{part}/{kind}" for part in roots for kind in ("cat", "dog")))
    _, _, told = layouts.tabulate("mine", Path(root), None)
    assert "Look twice: parts with different names are put together: test, train; test_roi" in told


def test_masks_in_a_table_and_a_second_column_of_images_are_told(tree, tmp_path):
    root = tree("raw", "mask")
    rows = [f"{place}/{i}.png,raw/{i}.png,{i % 2}" for place in ("raw", "mask") for i in (1, 2, 3)]
    (tmp_path / "t.csv").write_text("\n".join(["path,image,label", *rows]))
    column, masks = imagefolder(root, str(tmp_path / "t.csv")).remarks
    assert column == "The images are those of column path, not of image."
    assert masks.startswith("Look twice: 3 images of the table are called like masks")


@pytest.mark.parametrize(
    "forms",
    [
        ("{c}/images/{i}", "{c}/roi/{i}"),
        ("{c}/images/a/{i}", "{c}/heatmaps/a/{i}"),
        ("{c}/{i}", "{c}/depth/{i}"),
        ("cat/IMG_{i}", "cat/old/img_{i}", "dog/IMG_{i}"),
        ("{c}/IMG_{i}", "{c}/Originals/IMG_{i}"),
        ("ford/gt/{i}", "ford/focus/{i}", "fiat/500/{i}", "fiat/panda/{i}"),
    ],
)
def test_folders_whose_images_are_called_like_those_beside_are_told(forms):
    *_, remark = doubted_layers(names(*forms))
    assert remark.startswith("Look twice")
    assert "images are called like those in a folder beside theirs" in remark


@pytest.mark.parametrize(
    "forms",
    [("{c}/p1/{i}", "{c}_2/p2/{i}"), ("{c}/front/{i}", "{c}/{i}"), ("{c}/a/{i}", "{c}/9{i}")],
)
def test_objects_views_and_folders_of_other_images_repeat_nothing(forms):
    assert repeated_folders(names(*forms), ()) == []


def test_images_called_like_others_with_a_further_word_are_told():
    (remark,) = versions(names("{c}/{i}", "{c}/{i}_depth", "{c}/{i}_flip"))
    assert remark.startswith("Look twice: 20 images are called like another one")
    assert "_depth, _flip" in remark
    assert versions(names("{c}/IMG_{i}", "{c}/IMG_{i}_2")) == []


@pytest.mark.parametrize(
    "form",
    [
        "aug_{i}",
        "rot90_{i}",
        "m{i}",
        "{i}roi",
        "{i} (1)",
        "{i}_180",
        "{i}.jpg",
        "{i}-flip",
        "Copy of {i}",
    ],
)
def test_names_that_add_to_that_of_an_image_at_either_end_are_told(form):
    (remark,) = versions(names("{c}/{i}", f"{{c}}/{form}"))
    assert remark.startswith("Look twice: 10 images are called like another one")


@pytest.mark.parametrize(
    "form", ["ford_gt_{i}", "ford_label_{i}", "ford_2x4_{i}", "masked_ford_{i}"]
)
def test_words_that_may_be_of_the_thing_are_told_but_not_refused(form):
    images = names("{c}/ford_{i}", f"{{c}}/{form}")
    check_only_photos(Path("p"), images)
    (remark,) = versions(images)
    assert remark.startswith("Look twice: 10 images are called like another one")


def test_images_without_an_ending_are_not_called_like_another_one():
    assert versions([f"{c}/cell{i}" for c in ("cat", "dog") for i in range(9)]) == []
    assert versions([f"{i:06d}" for i in range(9)]) == []
    assert versions([f"cat/scan 12.05.{i}" for i in range(9)]) == []
    (remark,) = versions([f"cat/1.{i}.{ending}" for i in range(9) for ending in ("png", "jpg")])
    assert "9 images are called like another one beside them but for .jpg" in remark


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize(
    ("forms", "words"),
    [
        (("{c}/{c}_{i}_rgb", "{c}/{c}_{i}_depth", "{c}/{c}_{i}_maskcrop"), "rgb, depth, maskcrop"),
        (tuple(f"{{c}}/{{i}}_{turn}" for turn in (0, 90, 180, 270)), "0, 90, 180, 270"),
        (tuple(f"{{c}}/{{i}}_crop{k}" for k in range(4)), "crop0, crop1, crop2, crop3"),
        (("{c}/{i}_aug_0", "{c}/{i}_aug_1"), "aug_0, aug_1"),
        (("{c}/s{i}_x0_y0", "{c}/s{i}_x0_y1"), "x0_y0, x0_y1"),
        (("{c}/{i}a_depth_map", "{c}/{i}a_rgb"), "depth_map, rgb"),
        (("{c}/{i}_left", "{c}/{i}_right"), "left, right"),
        (("{c}/{i}a", "{c}/{i}b"), "a, b"),
        (("{c}/rgb_{i}", "{c}/nir_{i}"), "rgb, nir"),
        (("{c}/{i}_rgb", "{c}/{i}_ir", "bird/{i}"), "rgb, ir"),
    ],
)
def test_versions_of_an_object_without_a_plain_one_are_told(forms, words):
    images = names(*forms)
    (remark,) = sets_of_versions(images)
    number = len([name for name in images if "bird" not in name])
    assert remark.startswith(f"Look twice: {number} images come in sets whose names differ only in")
    assert f" {words}, such as {images[0]} and " in remark


def test_sets_are_told_though_some_images_of_them_are_missing():
    images = names("{c}/{i}_rgb", "{c}/{i}_depth", "{c}/{i}_edges")
    assert "28 images" in sets_of_versions(images[:2] + images[3:-1])[0]


@pytest.mark.parametrize(
    "forms",
    [
        ("{c}/IMG_000{i}", "{c}/DSC0001 ({i})"),
        ("{c}/{c}_{i}", "{c}/img_{i}", "{c}/photo_{i}"),
        ("{c}/img_{i}_1", "{c}/img_{i}_2"),
        ("{c}/white_cat", "{c}/black_cat", "{c}/white_dog", "{c}/black_dog", "{c}/white_cow"),
        ("{c}/white_cat_{i}", "{c}/black_cat_{i}"),
        ("{c}/car_{i}", "{c}/bus_{i}", "{c}/truck_{i}"),
        ("{c}/Abyssinian_{i}", "{c}/Bengal_{i}"),
        ("{c}/Black_Footed_Albatross_000{i}_796{i}11",),
        ("{c}/{c}_frame_{i}", "{c}/{c}_view_{i}"),
        ("{c}/0a5e9{i}23-dbad___FREC_Scab 34{i}", "{c}/1b{i}9323-d29e___RS_HL {i}"),
        ("{c}/{c}{i}_ann", "{c}/{c}1{i}_bea", "{c}/{c}2{i}_cem"),
        ("{c}/{i}", "{c}/{i}_depth", "{c}/{i}_flip"),
    ],
)
def test_ordinary_names_are_no_sets(forms):
    assert sets_of_versions(names(*forms)) == []


def test_numbers_and_numbers_to_the_base_of_sixteen_are_no_sets():
    assert sets_of_versions([f"cat/cat_{i}.png" for i in range(400)]) == []
    assert sets_of_versions([f"cat/{i:03x}.png" for i in range(4096)]) == []


def test_sets_are_told_of_folders_and_of_tables(tree, tmp_path):
    kinds = [f"{i}_{word}.png" for i in range(3) for word in ("rgb", "depth")]
    root = tree("cat", "dog", names=kinds)
    (tmp_path / "t.csv").write_text(
        "\n".join(["path,label", *(f"{c}/{name},{c}" for c in ("cat", "dog") for name in kinds)])
    )
    for labels in (None, str(tmp_path / "t.csv")):
        (remark,) = imagefolder(root, labels).remarks
        assert remark.startswith("Look twice: 12 images come in sets")


def test_a_class_of_photos_whose_names_recur_in_another_class_is_told():
    (remark,) = doubted_layers(names("images/{i}", "roi/{i}"))
    assert "most images of class roi are called like those of class images" in remark
    assert doubted_layers(names("images/{i}", "roi/x{i}")) == []
    assert doubted_layers(names("cat/{i}", "dog/{i}")) == []


def test_a_class_train_is_told(tree):
    assert "train is a class here" in imagefolder(tree("train", "plane")).remarks[0]


def test_edited_photos_of_a_phone_are_told():
    (remark,) = versions(names("{c}/IMG_{i}", "{c}/IMG_E{i}", "{c}/IMG_{i}~2"))
    assert "20 images are called like another one" in remark
