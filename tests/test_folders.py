"""The layouts that people have their images in."""

import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from effnet_core.data import formats
from effnet_core.data.datasets import imagefolder
from effnet_core.data.layout import groups, tables
from effnet_core.errors import InputError


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (len(path.name), 0, 0)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes with two pictures each of two animals."""
    for name in ("cat/tom-1", "cat/tom-2", "dog/rex-1", "dog/rex-2", "dog/ace-1"):
        photo(tmp_path / "photos" / f"{name}.jpg")
    return tmp_path / "photos"


def test_files_that_are_no_images_of_a_class_are_left_out_and_listed(photos):
    for name in ("readme.txt", "loose.jpg", "cat/film.mp4", "cat/sound.wav", "dog/deep/x.json"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("x")
    dataset = imagefolder(str(photos))
    assert len(dataset) == 5
    left_out = {"readme.txt", "loose.jpg", "cat/film.mp4", "cat/sound.wav", "dog/deep/x.json"}
    assert set(dataset.left_out) == left_out


def test_a_file_without_an_ending_is_an_image(photos):
    (photos / "cat/tom-1.jpg").rename(photos / "cat/0a1b2c")
    assert "cat/0a1b2c" in imagefolder(str(photos)).names


def test_a_class_of_other_files_only_is_empty(photos):
    (photos / "bird").mkdir()
    (photos / "bird" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"bird is empty: .* such as .*notes\.txt\. .*convert"):
        imagefolder(str(photos))


def test_a_photo_that_nothing_here_decodes_is_named_with_what_would(photos, monkeypatch):
    (photos / "dog" / "IMG_1.HEIC").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "EXTENSION", {".jpg": "JPEG"})
    formats._known.cache_clear()
    with pytest.raises(InputError, match=r"IMG_1\.HEIC.*pip install 'pillow-heif'.*JPEG"):
        imagefolder(str(photos))


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "Validation"), ("test",)])
def test_parts_are_never_classes(photos, parts):
    for part in parts:
        photo(photos.parent / "parts" / part / "cat" / "1.png")
    with pytest.raises(InputError, match=r"parts of a data set.*effnet new NAME --images"):
        imagefolder(str(photos.parent / "parts"))
    if len(parts) > 1:
        photo(photos.parent / "parts" / "extra" / "cat" / "1.png")
        with pytest.raises(InputError, match="parts of a data set"):
            imagefolder(str(photos.parent / "parts"))


def test_a_class_may_be_called_train(photos):
    for kind in ("train", "bus"):
        photo(photos.parent / "traffic" / kind / "1.png")
    assert imagefolder(str(photos.parent / "traffic")).classes == ["bus", "train"]


@pytest.fixture
def labels(photos):
    """A table that names three of the images, and which animal each shows."""
    rows = [("cat/tom-1.jpg", "NA", "7"), ("dog/rex-1.jpg", "b", "8"), ("dog/rex-2.jpg", "b", "8")]
    path = photos.parent / "labels.csv"
    pd.DataFrame(rows, columns=["File", "class", "animal"]).rename(
        columns={"File": "filename"}
    ).to_csv(path, index=False)
    return path


def test_a_table_of_paths_and_labels(photos, labels):
    dataset = imagefolder(str(photos), str(labels), "animal")
    assert dataset.classes == ["NA", "b"]
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.names == ["cat/tom-1.jpg", "dog/rex-1.jpg", "dog/rex-2.jpg"]
    assert dataset.images[0] == photos / "cat/tom-1.jpg"
    assert dataset.groups.tolist() == [0, 1, 1]


def test_a_table_may_say_which_images_are_for_testing(photos, labels):
    assert imagefolder(str(photos), str(labels)).official_test is None
    table = pd.read_csv(labels, keep_default_na=False)
    table.assign(part=["train", "val", "Test"]).to_csv(labels, index=False)
    assert imagefolder(str(photos), str(labels)).official_test.tolist() == [False, False, True]


def test_paths_are_relative_to_the_table_where_no_folder_is_given(photos, labels):
    labels.rename(photos / "labels.csv")
    assert len(imagefolder(None, str(photos / "labels.csv"))) == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cat/gone.jpg,a,1", r"1 images are not in .*photos: cat/gone\.jpg"),
        ("cat/tom-1.jpg,b,1", r"are there twice: cat/tom-1\.jpg"),
        ("cat/tom-2.jpg, ,1", r"have no label: cat/tom-2\.jpg"),
        ("cat/tom-2.jpg,b,1,2", r"cannot be read as a CSV table"),
    ],
)
def test_a_table_with_a_mistake_is_told(photos, labels, line, told):
    labels.write_text(labels.read_text() + line + "\n")
    with pytest.raises(InputError, match=told):
        imagefolder(str(photos), str(labels))


def test_a_file_of_another_program_is_no_table_and_is_not_repeated(photos, labels):
    labels.write_text('{"images": [' + ", ".join(['{"file_name": "cat/tom-1.jpg"}'] * 999) + "]}")
    with pytest.raises(InputError, match="no table but JSON or XML") as told:
        imagefolder(str(photos), str(labels))
    assert len(str(told.value)) < 300
    labels.write_text(",".join(f"c{number}" for number in range(99)) + "\n")
    with pytest.raises(InputError, match=r"no column path .* c19 and 79 more"):
        imagefolder(str(photos), str(labels))


def test_a_table_without_labels_or_with_one_class_is_told(photos, labels):
    labels.write_text("path,kind\ncat/tom-1.jpg,a\n")
    with pytest.raises(InputError, match=r"has no column label .*but path, kind"):
        imagefolder(str(photos), str(labels))
    labels.write_text("path,category\ncat/tom-1.jpg,train\ncat/tom-2.jpg,test\n")
    with pytest.raises(InputError, match=r"column category names parts .*\(test, train\)"):
        imagefolder(str(photos), str(labels))
    labels.write_text("path,label\ncat/tom-1.jpg,a\n")
    with pytest.raises(InputError, match="name 1 classes"):
        imagefolder(str(photos), str(labels))


@pytest.mark.parametrize(
    ("rule", "groups"), [(r"(\w+)-\d", [1, 1, 0, 2, 2]), (r"^[^/]+", [0, 0, 1, 1, 1])]
)
def test_a_pattern_in_the_names_says_which_images_show_one_object(photos, rule, groups):
    found = imagefolder(str(photos), groups=rule).groups
    assert found.dtype == np.int64
    # cat/tom-1, cat/tom-2, dog/ace-1, dog/rex-1, dog/rex-2
    same = np.equal.outer(found, found)
    assert np.array_equal(same, np.equal.outer(groups, groups))


@pytest.mark.parametrize(("rule", "told"), [("(", "no pattern"), ("tom", "matches nothing in")])
def test_a_pattern_that_says_nothing_of_an_image_is_told(photos, rule, told):
    with pytest.raises(InputError, match=told):
        imagefolder(str(photos), groups=rule)


def test_a_folder_that_moved_is_the_same_data(photos):
    before = imagefolder(str(photos)).fingerprint
    photos.rename(photos.parent / "elsewhere")
    assert imagefolder(str(photos.parent / "elsewhere")).fingerprint == before


def test_what_programs_leave_is_left_out_and_listed(photos):
    litter = ("cat/.ipynb_checkpoints/1.jpg", ".Trash-1000/cat/2.jpg", "__MACOSX/cat/3.jpg")
    for name in (*litter, "dog/@eaDir/rex-1.jpg/thumb.jpg", "dog/._rex-1.jpg", "dog/.rex.jpg"):
        photo(photos / name)
    (photos / "cat" / "Icon\r").touch()
    dataset = imagefolder(str(photos))
    assert len(dataset) == 5
    assert set(dataset.left_out) == {
        "cat/Icon\r",
        *("cat/.ipynb_checkpoints", ".Trash-1000", "__MACOSX", "dog/@eaDir"),
        *("dog/._rex-1.jpg", "dog/.rex.jpg"),
    }


def test_a_folder_that_cannot_be_read_is_told(photos, monkeypatch):
    photo(photos / "dog" / "more" / "1.jpg")
    listing = type(photos).iterdir

    def iterdir(path):
        if path.name == "more":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(type(photos), "iterdir", iterdir)
    with pytest.raises(InputError, match=r"dog/more cannot be read \(Permission denied\)\. Make"):
        imagefolder(str(photos))


def test_folders_of_the_kernel_are_refused_before_they_are_walked(photos):
    with pytest.raises(InputError, match="/proc/self belongs to the system"):
        imagefolder("/proc/self")
    (photos / "owl").symlink_to("/proc/self")
    with pytest.raises(InputError, match="owl belongs to the system"):
        imagefolder(str(photos))


def test_a_linked_class_is_read_and_a_linked_folder_in_it_is_told(photos):
    (photos / "hound").symlink_to(photos / "dog")
    assert imagefolder(str(photos)).classes == ["cat", "dog", "hound"]
    (photos / "dog" / "more").symlink_to(photos / "cat")
    with pytest.raises(InputError, match=r"dog/more is neither an image nor a folder"):
        imagefolder(str(photos))


@pytest.mark.parametrize("name", ["README", "notes 12.05.2024"])
def test_a_file_without_an_ending_that_is_no_image_is_left_out(photos, name):
    (photos / "cat" / name).write_text("x")
    (photos / "cat/tom-1.jpg").rename(photos / "cat" / "scan 12.05.2024")
    dataset = imagefolder(str(photos))
    assert dataset.left_out == [f"cat/{name}"]
    assert "cat/scan 12.05.2024" in dataset.names


def folders(root, *names):
    for name in names:
        photo(root / name)
    return str(root)


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("seg_train/a/1.png", "seg_test/a/1.png", "seg_pred/1.png"), "parts of a data set"),
        (("train/1.png", "test1/1.png"), "parts of a data set"),
        (("entrenamiento/1.png", "prueba/1.png", "validacio\u0301n/1.png"), "parts of a data set"),
        (("train/cat/1.png", "unlabeled/1.png"), "parts of a data set"),
        (("train/cat/1.png", "train/dog/1.png", "bus/1.png"), "like a part of a data set"),
        (("cat/train/1.png", "cat/test/2.png", "dog/train/1.png"), "inside of its classes"),
        (("a/b/Training Set/1.png", "c/1.png"), "inside of its classes"),
        (("cat/1.png", "dog/1.png", "unlabeled/1.png"), "like a part .*for unlabeled"),
        (("cat/1.png", "dog/1.png", "test/1.png"), "like a part .*for test"),
        (("labeled/cat/1.png", "labeled/dog/1.png", "unlabeled/1.png"), "for unlabeled"),
    ],
)
def test_parts_are_recognised_at_any_depth(tmp_path, names, told):
    with pytest.raises(InputError, match=told):
        imagefolder(folders(tmp_path / "p", *names))


def test_words_for_parts_in_names_of_classes_are_no_parts(tmp_path):
    names = ("bullet train/1.png", "train station/1.png", "devil/1.png", "contest/1.png")
    assert len(imagefolder(folders(tmp_path / "p", *names)).classes) == 4


def test_folders_around_the_classes_are_looked_through(tmp_path):
    root = folders(
        tmp_path / "p", "zip/photos/cat/1.png", "zip/photos/dog/1.png", "__MACOSX/x/1.png"
    )
    (tmp_path / "p" / "zip" / "README.txt").write_text("x")
    dataset = imagefolder(root)
    assert (dataset.classes, dataset.names) == (["cat", "dog"], ["cat/1.png", "dog/1.png"])


ALIKE = [
    ("Cat", "cat"),
    ("polar bear", "polarbear"),
    ("1", "1.0"),
    ("01", "1"),
    ("1e3", "1000"),
    ("-0", "0"),
    ("cat", "cat\u200b"),
    ("\ufb01sh", "fish"),
    ("cat", "c\u0430t"),
    ("cat's", "cat\u2019s"),
    ("x-ray", "x\u2013ray"),
    ("CAT", "\u0421AT"),
    ("stra\u00dfe", "STRASSE"),
]


@pytest.mark.fault("classes that look alike")
@pytest.mark.parametrize("pair", ALIKE)
def test_classes_that_look_alike_are_refused_in_folders_and_in_tables(tmp_path, pair):
    names = [f"{kind}/{place}.png" for place, kind in enumerate(pair)]
    root = folders(tmp_path / "p", *names)
    with pytest.raises(InputError, match="look alike"):
        imagefolder(root)
    rows = zip(names, pair, strict=True)
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match="look alike"):
        imagefolder(root, str(tmp_path / "t.csv"))


def test_classes_that_differ_are_no_classes_that_look_alike(tmp_path):
    kinds = ("-1", "1", "10", "1.5", "1e3", "a-b", "ab", "c++", "c", "inf", "infinity")
    root = folders(tmp_path / "p", *(f"{kind}/1.png" for kind in kinds))
    assert imagefolder(root).classes == sorted(kinds)


def test_blanks_and_unicode_forms_of_a_class_are_evened_out(tmp_path):
    kinds = ("cat", "cat ", "cat\u00a0", " cat", "cr\u00eape", "cre\u0302pe")
    names = [f"{place}.png" for place in range(6)]
    root = folders(tmp_path / "p", *names)
    rows = zip(names, kinds, strict=True)
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "t.csv", index=False)
    dataset = imagefolder(root, str(tmp_path / "t.csv"))
    assert dataset.classes == ["cat", "cr\u00eape"]
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1]
    (remark,) = dataset.remarks
    assert "4 labels were evened out: 'cat ' means class 'cat'" in remark


def table(root, text, encoding="utf-8"):
    """A data set of a table in the folder of the photos, which is written here."""
    (root / "t.csv").write_bytes(text.encode(encoding))
    return imagefolder(str(root), str(root / "t.csv"))


ROWS = ["cat/tom-1.jpg,a", "cat/tom-2.jpg,b"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["path,label", *ROWS]),
        "\ufeff" + "\r\n".join(['"path","label"', *ROWS]),
        "\n".join(["Path, Label", *ROWS]),
        "\n".join(["path;label", *ROWS]).replace(",", ";"),
        "\n".join(["path\tlabel", *ROWS]).replace(",", "\t"),
        "\n".join(["path,label", *(f"{row}," for row in ROWS)]),
        "\n".join(["path,label", *ROWS, ",", ""]),
        "\n".join(["path,label", *(row.replace(",", ", ") for row in ROWS)]),
    ],
)
def test_a_table_is_read_as_spreadsheets_and_scripts_write_it(photos, text):
    dataset = table(photos, text)
    assert (dataset.names, dataset.classes) == (["cat/tom-1.jpg", "cat/tom-2.jpg"], ["a", "b"])


@pytest.mark.parametrize(
    ("kind", "encoding"), [("K\u00e4se", "cp1252"), ("K\u00e4se", "utf-16"), ("a", "utf-16-le")]
)
def test_a_table_in_another_encoding_is_told_with_the_remedy(photos, kind, encoding):
    with pytest.raises(InputError, match=r"not UTF-8 text\. Save it as UTF-8"):
        table(photos, f"path,label\ncat/tom-1.jpg,{kind}\n", encoding)


def test_names_and_labels_of_a_table_stay_text(photos):
    for name in ("0000", "1e5", "NaN", "NA"):
        (photos / "cat/tom-1.jpg").rename(photos / name)
        photo(photos / "cat" / "tom-1.jpg")
    dataset = table(photos, "path,label\n0000,1e5\n1e5,NA\nNaN,NaN\nNA,0000\n")
    assert dataset.names == ["0000", "1e5", "NaN", "NA"]
    assert dataset.classes == ["0000", "1e5", "NA", "NaN"]


@pytest.mark.fault("tables that name files elsewhere")
@pytest.mark.parametrize("name", ["../secret.jpg", "cat/../../secret.jpg", "/nowhere/x.jpg"])
def test_a_table_names_no_images_outside_of_its_folder(photos, name):
    photo(photos.parent / "secret.jpg")
    with pytest.raises(InputError, match=r"1 images are outside of .* give a data_dir"):
        table(photos, f"path,label\ncat/tom-1.jpg,a\n{name},b\n")


def test_a_wider_folder_allows_them_and_whole_paths_become_relative(photos):
    photo(photos.parent / "secret.jpg")
    (photos / "t.csv").write_text(
        f"path,label\n{photos / 'cat/tom-1.jpg'},a\nphotos/../secret.jpg,b\n"
    )
    dataset = imagefolder(str(photos.parent), str(photos / "t.csv"))
    assert dataset.names == ["photos/cat/tom-1.jpg", "photos/../secret.jpg"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("cat/tom-1.jpg,a\n./cat/tom-1.jpg,b", "1 images are there twice"),
        ('cat/tom-1.jpg,a\ncat/tom-2.jpg,"a,b"', "several classes in one cell"),
        ("cat/tom-1.jpg,a\ncat/tom-2.jpg,b\ndog/rex-1.jpg,a b", "several classes in one cell"),
        ("cat/tom-1.jpg,a\ncat/tom-2.jpg,b\ndog/rex-1.jpg,a & b", "several classes in one cell"),
        ("cat/tom-1.jpg,a\ncat/tom-2.jpg,b\ndog/rex-1.jpg,b/a", "several classes in one cell"),
        ('cat/tom-1.jpg,a\ncat/tom-2.jpg,b\ndog/rex-1.jpg,"a\nb"', "several classes in one cell"),
        ("cat/tom-1.jpg,[0]\ncat/tom-2.jpg,[1]\ndog/rex-1.jpg,[0 1]", "several classes in one"),
        ("cat/tom-1.jpg,{'name': 'a'}\ncat/tom-2.jpg,b", "a structure of another program"),
        ("cat/tom-1.jpg,['a']\ncat/tom-2.jpg,\"['b', 'a']\"", "several classes in one cell"),
        ("cat/tom-1.jpg,a\ncat/tom-2.jpg", "line 3 has 1 columns, the first 2"),
    ],
)
def test_rows_that_are_not_what_they_seem_are_told(photos, rows, told):
    with pytest.raises(InputError, match=told):
        table(photos, f"path,label\n{rows}\n")


@pytest.mark.fault("patterns that never end")
@pytest.mark.parametrize("rule", ["^cat/(a+)+$", "(a|a)*b$", r"(\w+\s?)*!"])
def test_a_pattern_that_would_take_for_ever_is_ended(photos, monkeypatch, rule):
    monkeypatch.setattr(groups, "PATTERN_SECONDS", 0.3)
    photo(photos / "cat" / f"{'a' * 40}.jpg")
    with pytest.raises(InputError, match="takes too long"):
        imagefolder(str(photos), groups=rule)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("who", r"names no object for 1 images, such as 'cat/tom-2\.jpg'"),
        (r"(\d*)$", "names no object for 3 images"),
        ("jpg", r"makes all images one object\. Columns: path, label, who"),
    ],
)
def test_images_without_an_object_or_all_with_one_are_told(photos, rule, told):
    text = "path,label,who\ncat/tom-1.jpg,a,x\ncat/tom-2.jpg,b, \ndog/ace-1.jpg,b,y\n"
    (photos / "t.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        imagefolder(str(photos), str(photos / "t.csv"), rule)


@pytest.mark.parametrize("blank", ["nan", "N/A", "?", "-", "unknown"])
def test_what_stands_for_a_blank_names_no_object(photos, blank):
    text = f"path,label,Who\ncat/tom-1.jpg,a,x\ncat/tom-2.jpg,b,{blank}\ndog/ace-1.jpg,b,{blank}\n"
    (photos / "t.csv").write_text(text)
    with pytest.raises(InputError, match="names no object for 2 images"):
        imagefolder(str(photos), str(photos / "t.csv"), "who")


@pytest.mark.fault("groups on both sides")
@pytest.mark.parametrize("rule", [r"([^_]+)_", r"([^_]+)_\d", r"^(.+)_\d"])
def test_a_pattern_that_takes_a_folder_for_a_part_of_an_object_is_refused(tmp_path, rule):
    for kind in ("bad", "good"):
        for name in ("P0_0", "P0_1", "P1_0"):
            photo(tmp_path / kind / f"{name}.png")
    with pytest.raises(
        InputError, match=r"a folder into the name of an object: 'bad/P0' and 'good/P0'"
    ):
        imagefolder(str(tmp_path), groups=rule)
    objects = imagefolder(str(tmp_path), groups=r"([^/_]+)_\d").groups
    assert objects.tolist() == [0, 0, 1, 0, 0, 1]
    assert len(set(imagefolder(str(tmp_path), groups=r"^(\w+/\w+)_\d").groups.tolist())) == 4


def test_a_pattern_may_take_a_folder_that_all_objects_share(tmp_path):
    for name in ("P0_0", "P0_1", "P1_0"):
        photo(tmp_path / "photos" / f"{name}.png")
    table = tmp_path / "t.csv"
    table.write_text("path,label\nphotos/P0_0.png,a\nphotos/P0_1.png,b\nphotos/P1_0.png,b\n")
    assert imagefolder(str(tmp_path), str(table), r"([^_]+)_").groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "names", [("12", "12/3", "7"), ("1", "1,5", "2"), ("Rome", "Oslo, Rome", "x")]
)
def test_a_comma_or_a_slash_may_be_a_part_of_an_object(photos, names):
    files = ("cat/tom-1.jpg,a", "cat/tom-2.jpg,b", "dog/ace-1.jpg,b")
    rows = "".join(f'{file},"{name}"\n' for file, name in zip(files, names, strict=True))
    (photos / "t.csv").write_text(f"path,label,who\n{rows}")
    assert len(set(imagefolder(str(photos), str(photos / "t.csv"), "who").groups.tolist())) == 3


@pytest.mark.fault("groups on both sides")
@pytest.mark.parametrize("cell", ["p1;p2", "p1, p2", "p2/p1", "p2|p9", "P1 ;P9"])
def test_a_cell_with_several_objects_is_refused(photos, cell):
    text = f"path,label,who\ncat/tom-1.jpg,a,p1\ncat/tom-2.jpg,b,p2\ndog/ace-1.jpg,b,'{cell}'\n"
    (photos / "t.csv").write_text(text.replace("'", '"'))
    with pytest.raises(InputError, match="names several objects"):
        imagefolder(str(photos), str(photos / "t.csv"), "who")


def test_names_of_objects_that_look_alike_are_one_object(photos):
    text = "path,label,who\ncat/tom-1.jpg,a,P1\ncat/tom-2.jpg,b,p1 \ndog/ace-1.jpg,b,P2\n"
    (photos / "t.csv").write_text(text)
    dataset = imagefolder(str(photos), str(photos / "t.csv"), "who")
    assert dataset.groups.tolist() == [0, 0, 1]
    (remark,) = dataset.remarks
    assert remark.startswith("1 names of groups look like another")
    assert "'P1' and 'p1 '" in remark


def test_groups_of_several_matches_are_told_in_words(photos):
    for name in ("1_12.png", "11_2.png"):
        photo(photos / "cat" / name)
    (remark,) = imagefolder(str(photos), groups=r"(\w)([^/]*)\.").remarks
    assert "\x00" not in remark


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("path;label;note, x\na;b;c\n", ["path", "label", "note, x"]),
        ("path,label,,\na,b,,\nc,d\n", ["path", "label"]),
    ],
)
def test_a_table_is_read_by_its_known_columns(tmp_path, text, columns):
    (tmp_path / "t.csv").write_text(text)
    assert list(tables.read_table(tmp_path / "t.csv").columns) == columns
