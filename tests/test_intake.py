"""From a folder that nobody has prepared to a study: what is seen, and what is written."""

import io
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import save_deep_planes
from PIL import Image
from rich.console import Console

from effnet_core import files, paths
from effnet_core.data.datasets import Dataset, imagefolder, load_dataset
from effnet_core.data.splits import split_dataset
from effnet_core.errors import InputError
from effnet_core.study.studies import load_study
from effnet_report.inference import analysis, contrasts, forecast
from effnet_report.intake import layouts, network, weigh
from effnet_report.intake import look as look_module
from effnet_report.intake import new as new_command
from effnet_report.intake.look import look
from effnet_report.intake.new import new
from effnet_report.intake.pictures import photos_apart
from effnet_report.sweep.plan import Speed, Timed, too_few
from effnet_report.sweep.step_cost import StepCost


def photo(path, seed, size=(40, 30), mode="RGB"):
    """Coloured blocks, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 4), np.uint8)
    blocks[..., 3] = np.where(blocks[..., 3] > 99, 255, 0)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    image.convert(mode).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes of twelve photos; one is there twice, and one almost twice."""
    root = tmp_path / "photos"
    for seed in range(24):
        photo(root / ("cat", "dog")[seed % 2] / f"{seed:02d}.png", seed)
    Image.open(root / "cat" / "00.png").save(root / "dog" / "copy.bmp")
    Image.open(root / "cat" / "02.png").save(root / "cat" / "almost.jpg", quality=95, subsampling=0)
    return root


def timed(design, *_):
    """A machine on which a step without frozen stages takes 30 ms at 96 pixels."""
    runs = design.configurations()
    area = design.protocol.image_size**2
    costs = [StepCost(0, area * (7 - run.freeze), memory=1, trainable=1) for run in runs]
    return Timed(runs, costs, [True] * len(runs), Speed(1.5e-7, 1.5e-7))


@pytest.fixture
def own_studies(own_folders, monkeypatch):
    """Studies go to a temporary folder; steps are not timed."""
    monkeypatch.setattr(paths, "STUDIES", own_folders / "studies")
    monkeypatch.setattr(weigh, "time_steps", timed)
    monkeypatch.setattr(weigh, "automatic_jobs", lambda _: 1)
    return own_folders / "studies"


def begin(images, capsys, name="mine", **options) -> str:
    chosen = {"labels": None, "groups": None, "hours": 1.0, "ask": "depth"} | options
    new(name, images, **chosen, console=Console(width=300))
    return capsys.readouterr().out


def test_what_is_in_a_folder_is_seen(photos):
    photo(photos / "dog" / "clear.png", 99, (60, 50), "RGBA")
    (photos / "dog" / "broken.jpg").write_bytes(b"x")
    (photos / "cat" / "empty.png").write_bytes(b"")
    seen = look(imagefolder(str(photos)))
    assert set(seen.unreadable["name"]) == {"dog/broken.jpg", "cat/empty.png"}
    by_name = seen.images.set_index("name")
    assert by_name["format"].value_counts().to_dict() == {"PNG": 25, "BMP": 1, "JPEG": 1, "": 2}
    assert by_name[by_name["transparent"]].index.tolist() == ["dog/clear.png"]
    assert by_name.loc["dog/clear.png", ["width", "height"]].tolist() == [60, 50]
    pairs = {
        (row.first, row.second): (row.identical, row.across) for row in seen.twins.itertuples()
    }
    assert pairs[("cat/00.png", "dog/copy.bmp")] == (True, True)
    assert pairs[("cat/02.png", "cat/almost.jpg")] == (False, False)
    assert len(pairs) == 2


def test_a_study_is_written_that_can_be_trained(photos, own_studies, capsys):
    (photos / "notes.txt").write_text("x")
    told = begin(photos, capsys)
    design = load_study("mine")
    dataset = load_dataset("imagefolder", design.protocol.data_dir)
    assert len(dataset) == 26
    assert not too_few(design, dataset)
    assert design.protocol.resize == "pad"  # 40 x 30 is no square
    text = (own_studies / "mine.yml").read_text()
    assert all("#" in line for line in text.splitlines() if line.startswith(("  ", "seeds")))
    for word in ("cat", "13", "24 PNG", "notes.txt", "identical", "dog/copy.bmp", "runs, about"):
        assert word in told
    sheet = Image.open(paths.records("mine") / "contact-sheet.jpg")
    assert sheet.size[0] > 8 * 100
    with pytest.raises(InputError, match="already a study 'mine'"):
        begin(photos, capsys)


@pytest.mark.slow
def test_a_study_answers_as_much_as_the_hours_allow(photos, own_studies, capsys):
    for seed in range(100, 400):
        photo(photos / "dog" / f"{seed}.png", seed, (300, 300))
        photo(photos / "cat" / f"{seed}.png", seed + 999, (300, 300))
    told = begin(photos, capsys, name="small", hours=0.1)
    assert re.search(r"0\.1, chosen .* ± \d", told)
    begin(photos, capsys, name="large", hours=99.0)
    small, large = map(load_study, ("small", "large"))
    assert large.protocol.image_size > small.protocol.image_size
    assert large.protocol.max_images == small.protocol.max_images == 0
    assert len(large.seeds) == large.protocol.folds > len(small.seeds) == small.protocol.folds > 1
    assert "more than 0.001 h" in begin(photos, capsys, name="none", hours=0.001)


def test_a_study_asks_about_depth_and_what_is_named(photos, own_studies, capsys):
    begin(photos, capsys)
    usual = load_study("mine")
    assert 0 in usual.factors["freeze"]
    assert (usual.factors["head"], usual.factors["scheduler"]) == (["none"], ["cosine"])
    recipe = usual.protocol
    assert (recipe.norm_statistics, recipe.early_stop_patience) == ("pretrained", None)
    assert recipe.rates == (3e-5, 1e-4, 3e-4)
    begin(photos, capsys, name="more", ask="depth, recipe,head")
    more = load_study("more")
    assert {name for name, levels in more.factors.items() if len(levels) > 1} == {
        *("freeze", "norm_statistics", "augment", "head")
    }
    with pytest.raises(InputError, match="--ask speed: a study can ask about depth, recipe, head"):
        begin(photos / "nowhere", capsys, name="another", ask="depth,speed")


@pytest.fixture
def gpu(own_studies, monkeypatch):
    """A GPU that is fast except with the largest network, and a hub that answers."""

    def timed_on_it(design, *_):
        slow = 1e4 if design.protocol.backbone == network.FROM_THE_HUB[0] else 1
        return replace(timed(design), speed=Speed(1.5e-10 * slow, 1.5e-10 * slow))

    monkeypatch.setattr(weigh, "time_steps", timed_on_it)
    monkeypatch.setattr(network.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(network.Network, "fetch", lambda _: None)


@pytest.fixture
def large_photos(tmp_path):
    for seed in range(24):
        photo(tmp_path / "large" / ("cat", "dog")[seed % 2] / f"{seed:02d}.png", seed, (500, 400))
    return tmp_path / "large"


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_the_hours_decide_how_large_the_network_is(large_photos, own_studies, capsys):
    chosen = []
    for name, hours in (("long", 12.0), ("short", 0.03)):
        printed = begin(large_photos, capsys, name=name, hours=hours)
        study = load_study(name)
        chosen.append(study.protocol.backbone)
        assert (study.protocol.device, study.protocol.weights) == ("cuda", "hub")
        assert f"Network: {chosen[-1]}, the largest for 400 pixels" in printed
        assert max(study.factors["freeze"]) < network.Network(chosen[-1], "hub", "cuda", "").stages
    assert chosen[0] == network.FROM_THE_HUB[0]
    assert network.FROM_THE_HUB.index(chosen[1]) > 0


@pytest.mark.usefixtures("gpu")
def test_without_the_hub_the_packaged_network_trains_on_the_gpu(
    large_photos, own_studies, capsys, monkeypatch
):
    def unreachable(chosen: network.Network) -> None:
        if chosen.weights == "hub":
            raise InputError("The weights could not be fetched from the hub.")

    monkeypatch.setattr(network.Network, "fetch", unreachable)
    begin(large_photos, capsys)
    protocol = load_study("mine").protocol
    assert (protocol.backbone, protocol.device) == (network.PACKAGED, "cuda")
    with pytest.raises(InputError, match="could not be fetched"):
        begin(large_photos, capsys, name="other", backbone="efficientnet_b0.ra_in1k")


def test_a_network_or_device_that_is_not_there_is_told(photos, own_studies, capsys, monkeypatch):
    with pytest.raises(InputError, match="timm has no model 'efficientnet_x'"):
        begin(photos, capsys, backbone="efficientnet_x")
    monkeypatch.setattr(network.torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cuda: PyTorch finds no GPU"):
        begin(photos, capsys, device="cuda")
    assert not list(own_studies.glob("*"))


def test_uneven_classes_count_the_same(photos, own_studies, capsys):
    assert "balanced accuracy" not in begin(photos, capsys)
    assert load_study("mine").protocol.criterion == "accuracy"
    for seed in range(100, 120):
        photo(photos / "dog" / f"{seed}.png", seed)
    assert "criterion is balanced accuracy" in begin(photos, capsys, name="uneven")
    assert load_study("uneven").protocol.criterion == "balanced_accuracy"


@pytest.mark.slow
def test_the_interval_that_is_expected_is_the_one_that_the_report_gives():
    study = analysis.load("published/elpv_source")
    compared = study.estimator
    reported = contrasts.levels_at_once(compared, "freeze")[6]
    expected = forecast.half_width(
        forecast.depth_components(compared), 7, seeds=4, images=2624, folds=True
    )
    assert expected == pytest.approx((reported.high - reported.low) / 2, rel=0.15)
    # One run per depth instead of four leaves more noise, and as many seeds remove it.
    single = forecast.published((), forecast.RECIPE)[0]
    several = forecast.published(("head", "scheduler"), forecast.RECIPE)[0]
    assert single.seed + single.image > several.seed + several.image


def test_all_unreadable_images_are_named_and_nothing_is_written(photos, own_studies, capsys):
    for name in ("dog/broken.jpg", "cat/empty.png"):
        (photos / name).write_bytes(b"")
    with pytest.raises(InputError, match="2 images cannot be read"):
        begin(photos, capsys)
    told = capsys.readouterr().out
    assert "dog/broken.jpg" in told
    assert "cat/empty.png" in told
    assert not (own_studies / "mine.yml").exists()


def test_a_class_too_small_for_any_study_is_told_before_anything_trains(
    photos, own_studies, capsys
):
    photo(photos / "bird" / "1.png", 7)
    with pytest.raises(InputError, match=r"'bird' has 1 images.*Add images, or leave the class"):
        begin(photos, capsys)


def test_copies_are_blamed_only_where_there_are_some(own_studies, tmp_path, capsys):
    for number in range(24):
        photo(
            tmp_path / "all" / ("cat", "dog")[number % 2] / f"p{number // 12}-{number}.png", number
        )
    with pytest.raises(InputError, match="images of 2 groups") as told:
        begin(tmp_path / "all", capsys, groups="p[01]")
    assert "copies" not in str(told.value)


@pytest.mark.parametrize("name", ["../x", "published", "-x", "a b"])
def test_a_name_that_cannot_be_a_study_is_told(photos, own_studies, capsys, name):
    with pytest.raises(InputError, match=name):
        begin(photos, capsys, name=name)


@pytest.fixture
def parts(photos):
    """Gives a folder of parts, each with the photos' classes."""

    def make(*names):
        for place, part in enumerate(names):
            for file in photos.rglob("*.png"):
                seed = 100 * place + int(file.stem)
                photo(
                    photos.parent / "parts" / part / file.parent.name / file.name, seed, (140, 130)
                )
        return photos.parent / "parts"

    return make


def test_a_test_folder_stays_the_test_set_of_every_seed(parts, own_studies, capsys):
    told = begin(parts("train", "val", "Test"), capsys, hours=99.0)
    assert "own test set of 24 images is kept" in told
    design = load_study("mine")
    assert len(design.seeds) > 1
    dataset = imagefolder(design.protocol.data_dir, design.protocol.labels)
    assert (dataset.classes, len(dataset)) == (["cat", "dog"], 72)
    for settings in design.runs():
        split = split_dataset(dataset, settings)
        assert {dataset.names[index].split("/")[0] for index in split.test} == {"Test"}
        assert len(split.test) == 24
        assert len(split.train) + len(split.validation) == 48


def test_parts_without_a_test_set_are_put_together(parts, own_studies, capsys):
    assert "The parts train, val are put together" in begin(parts("train", "val"), capsys)
    protocol = load_study("mine").protocol
    dataset = imagefolder(protocol.data_dir, protocol.labels)
    assert (dataset.classes, len(dataset)) == (["cat", "dog"], 48)
    assert not protocol.official_test


def test_a_test_folder_without_some_class_cannot_be_kept(parts, own_studies, capsys):
    root = parts("train", "test")
    shutil.rmtree(root / "test" / "dog")
    assert "test set cannot be kept: at least one class has no image in it" in begin(root, capsys)
    assert not load_study("mine").protocol.official_test


def test_a_part_without_classes_is_refused(photos):
    photo(photos.parent / "parts" / "train" / "cat" / "1.png", 1)
    photo(photos.parent / "parts" / "test" / "1.png", 1)
    with pytest.raises(InputError, match=r"test has no class folders.*--labels"):
        layouts.tabulate("mine", photos.parent / "parts", None)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_labels(photos, own_studies, capsys, suffix):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    rows = {
        "path": names,
        "label": ["ab"[n % 2] for n in range(24)],
        "who": [n // 4 for n in range(24)],
    }
    labels = photos.parent / f"labels.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(labels, index=False)
    else:
        pytest.importorskip("pyarrow")
        pd.DataFrame(rows).to_parquet(labels)
    told = begin(photos, capsys, labels=labels, groups="who")
    assert "6 objects" in told
    protocol = load_study("mine").protocol
    dataset = imagefolder(protocol.data_dir, protocol.labels, protocol.groups)
    assert dataset.classes == ["a", "b"]
    assert len(set(dataset.groups)) == 6


class Saved:
    """An Arrow table of encoded pictures, without Arrow."""

    def __init__(self, files: list[Path]) -> None:
        self.pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in files]

    def to_pandas(self) -> pd.DataFrame:
        labels = ["ab"[place % 2] for place in range(len(self.pictures))]
        return pd.DataFrame({"image": self.pictures, "label": labels})


@pytest.mark.fault("files of the user in the way")
def test_pictures_that_a_renamed_study_uses_stay(photos, own_folders, monkeypatch):
    files = sorted(photos.rglob("*.png"))
    (photos / "dataset_info.json").write_text("{}")
    monkeypatch.setattr(layouts, "_saved", lambda _: ({"": Saved(files)}, {"": {}}))
    _, first, _ = layouts.tabulate("mine", photos, None)
    before = {path: path.read_bytes() for path in first.iterdir()}
    assert len(before) == len(files)
    monkeypatch.setattr(layouts, "_saved", lambda _: ({"": Saved(files[::-1])}, {"": {}}))
    _, second, _ = layouts.tabulate("mine", photos, None)
    assert second != first
    assert {path: path.read_bytes() for path in first.iterdir()} == before


@pytest.mark.parametrize(
    ("names", "column"), [(("test",), False), (("a", "b"), False), (("train", "test"), True)]
)
def test_parts_of_a_data_set_on_disk_are_named_if_they_are_known(
    photos, own_folders, monkeypatch, names, column
):
    files = sorted(photos.rglob("*.png"))
    (photos / "dataset_info.json").write_text("{}")
    saved = ({name: Saved(files) for name in names}, {name: {} for name in names})
    monkeypatch.setattr(layouts, "_saved", lambda _: saved)
    table, _, _ = layouts.tabulate("mine", photos, None)
    assert len(table) == len(files) * len(names)
    assert ("part" in table) == column


def encoded(seed, size=(40, 30)):
    """A picture as the bytes of a PNG."""
    data = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(noise).save(data, "PNG")
    return data.getvalue()


def with_masks(column="image", size=(40, 30)):
    """A table of masks, of a structure, of photos and of bytes that are no picture."""
    return pd.DataFrame(
        {
            "mask": [{"bytes": encoded(n, size), "path": None} for n in range(6)],
            "camera": [{"path": "x", "iso": n} for n in range(6)],
            column: [{"bytes": encoded(100 + n), "path": None} for n in range(6)],
            "vector": [b"\xff\xfe"] * 6,
            "pages": [np.array([{"bytes": b"\x89", "path": None}], dtype=object)] * 6,
            "label": [b"cat", b"dog"] * 3,
        }
    )


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize("column", ["image", "Photo"])
def test_of_several_columns_of_pictures_that_of_the_photos_is_taken(column):
    source = with_masks(column)
    table, photos, told = photos_apart(Path("t.parquet"), source)
    assert list(table) == ["camera", "label"]
    assert photos.tolist() == source[column].tolist()
    assert told == (
        f"The photos are those of column {column}. Left out, because they hold other pictures or "
        "bytes: mask, vector, pages."
    )


def test_columns_of_pictures_with_unclear_names_are_refused():
    with pytest.raises(InputError, match=r"holds pictures in mask, x, so it is unclear.*Rename"):
        photos_apart(Path("t.parquet"), with_masks("x"))
    with pytest.raises(InputError, match="holds pictures in mask, so it is unclear"):
        photos_apart(Path("t.parquet"), with_masks("image").assign(image="1.png"))


def test_a_column_of_plain_bytes_holds_pictures_if_they_open():
    source = pd.DataFrame({"x": [encoded(0), encoded(1)], "label": ["a", "b"]})
    table, photos, told = photos_apart(Path("t.parquet"), source)
    assert list(table) == ["label"]
    assert [picture["bytes"] for picture in photos] == source["x"].tolist()
    assert told == ""
    source = pd.DataFrame({"path": ["1.png"], "label": ["a"], "x": [b"\xff"]})
    table, photos, told = photos_apart(Path("t.parquet"), source)
    assert list(table) == ["path", "label"]
    assert photos is None
    assert told == "Left out, because they hold other pictures or bytes: x."


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize("plain", [True, False])
def test_a_parquet_file_of_photos_and_large_masks_is_a_small_table(tmp_path, own_folders, plain):
    pytest.importorskip("pyarrow")
    source = with_masks(size=(400, 400)).drop(columns="pages")
    if plain:
        source["image"] = [picture["bytes"] for picture in source["image"]]
    source.to_parquet(tmp_path / "t.parquet")
    table, root, told = layouts.tabulate("mine", tmp_path, tmp_path / "t.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    assert (tmp_path / "t.csv").stat().st_size < 1000
    dataset = imagefolder(str(root), str(tmp_path / "t.csv"))
    assert [path.read_bytes() for path in dataset.images] == [encoded(100 + n) for n in range(6)]
    assert dataset.remarks == []
    assert "unpacked" in told
    assert "The photos are those of column image. Left out" in told


def test_a_hugging_face_data_set_on_disk(photos, own_studies, capsys):
    """As `DatasetDict.save_to_disk` writes it: Arrow streams and JSON files."""
    pyarrow = pytest.importorskip("pyarrow")
    root = photos.parent / "hub"
    files = sorted(photos.rglob("*.png"))
    for part, chosen in (("train", files[:16]), ("test", files[16:])):
        folder = root / part
        folder.mkdir(parents=True)
        pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in chosen]
        labels = [int(file.parent.name == "dog") for file in chosen]
        table = pyarrow.table({"image": pictures, "label": labels})
        with pyarrow.ipc.new_stream(str(folder / "data.arrow"), table.schema) as stream:
            stream.write_table(table)
        (folder / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
        (folder / "dataset_info.json").write_text(
            '{"features": {"image": {"_type": "Image"},'
            ' "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}'
        )
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    told = begin(root, capsys)
    assert "unpacked" in told
    protocol = load_study("mine").protocol
    dataset = imagefolder(protocol.data_dir, protocol.labels)
    assert dataset.classes == ["cat", "dog"]
    found = {file.read_bytes() for file in dataset.images}
    assert found == {file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("labels", "features", "words"),
    [
        ([0, None], {"label": {"names": ["cat", "dog"]}}, r"1 images have no label\. Remove"),
        ([0, -1], {"label": {"names": ["cat", "dog"]}}, r"1 images have no label\. Remove"),
        ([0, 2], {"label": {"names": ["cat", "dog"]}}, "more classes than the 2 with names"),
    ],
)
def test_numbers_of_no_class_are_told(labels, features, words):
    with pytest.raises(InputError, match=words):
        layouts._labels_in_words(pd.DataFrame({"label": labels}), features)


def test_features_that_are_lists_are_no_classes():
    table = pd.DataFrame({"label": [1, 0], "boxes": [[1], [2]]})
    features = {"label": {"names": ["cat", "dog"]}, "boxes": [{"dtype": "int32"}]}
    assert layouts._labels_in_words(table, features)["label"].tolist() == ["dog", "cat"]


def test_parts_are_understood_by_whatever_name(photos, own_studies, capsys):
    for name in ("Training_set", "Validation set", "test-images"):
        for seed in range(26):
            kind = ("cat", "dog")[seed % 2]
            photo(photos.parent / "named" / name / kind / f"{seed}.png", len(name) * 100 + seed)
    (photos.parent / "named" / "annotations").mkdir()
    assert "own test set of 26 images is kept" in begin(photos.parent / "named", capsys)
    assert load_study("mine").protocol.official_test


def test_parts_inside_of_classes_are_parts(photos, own_studies, capsys):
    for kind in ("cat", "dog"):
        files = sorted((photos / kind).iterdir())
        for place, file in enumerate(files):
            target = photos.parent / "inside" / kind / ("test" if place % 3 == 0 else "train")
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    told = begin(photos.parent / "inside", capsys)
    assert "test set of 10 images is kept" in told
    protocol = load_study("mine").protocol
    assert imagefolder(protocol.data_dir, protocol.labels).classes == ["cat", "dog"]


def test_parts_beside_classes_are_refused(photos):
    for name in ("train", "test"):
        shutil.copytree(photos, photos / name)
    with pytest.raises(InputError, match=r"parts of a data set \(test, train\) and .*\(cat, dog\)"):
        layouts.tabulate("mine", photos, None)


def test_classes_that_look_like_parts_of_something_are_doubted(photos, own_studies, capsys):
    for name in ("morning", "evening"):
        for seed in range(24):
            kind = ("animal1", "animal2")[seed % 2]
            photo(photos.parent / "days" / name / kind / f"{seed}.png", ord(name[0]) * 100 + seed)
    days = photos.parent / "days"
    shutil.copy(days / "morning/animal1/0.png", days / "evening/animal1/a.png")
    told = begin(days, capsys)
    assert (
        "Look twice: several of the classes evening, morning hold folders of the same name" in told
    )
    assert "The same image is in two classes" in told


def test_what_an_archive_wraps_around_the_classes_is_looked_through(photos, own_studies, capsys):
    shutil.move(photos, photos.parent / "zip" / "photos")
    (photos.parent / "zip" / "__MACOSX").mkdir()
    begin(photos.parent / "zip", capsys)
    assert load_study("mine").protocol.data_dir == str(photos.parent / "zip" / "photos")


def test_images_without_a_class_are_told_with_what_to_do(photos):
    with pytest.raises(InputError, match=r"nothing says which class.*--labels"):
        layouts.tabulate("mine", photos / "cat", None)


def test_a_table_of_a_spreadsheet_is_read_and_a_mistake_in_it_is_told_by_its_own_name(
    photos, own_studies, capsys
):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    labels = photos.parent / "labels.csv"
    lines = [f"{name};{'ab'[place % 2]}" for place, name in enumerate(names)]
    labels.write_text("\n".join(["file;category", *lines]))
    begin(photos, capsys, labels=labels)
    protocol = load_study("mine").protocol
    assert imagefolder(protocol.data_dir, protocol.labels).classes == ["a", "b"]
    labels.write_text("\n".join(["file;kind", *lines]))
    with pytest.raises(InputError, match=f"labels {labels} has no column label"):
        begin(photos, capsys, name="other", labels=labels)


def test_small_images_too_are_all_used_where_there_is_time(photos, own_studies, capsys):
    begin(photos, capsys, hours=99.0)
    design = load_study("mine")
    assert (design.protocol.image_size, design.protocol.max_images) == (64, 0)
    assert len(design.seeds) > 1


def test_a_rare_class_is_kept_whole(photos, own_studies, capsys):
    for seed in range(100, 700):
        photo(photos / "dog" / f"{seed}.png", seed, (8, 8))
    begin(photos, capsys, hours=0.01)
    assert load_study("mine").protocol.max_images == 0


def many(root, *folders, count=24):
    """Photos in each of the folders, all of them different."""
    for place, folder in enumerate(folders):
        for seed in range(count):
            photo(root / folder / f"{place}{seed:02d}.png", 1000 * place + seed)
    return root


@pytest.mark.parametrize("rest", [(), ("seg_pred/seg_pred",), ("unlabeled",)])
def test_parts_that_wrap_their_classes_are_understood(tmp_path, own_studies, capsys, rest):
    parts = ("seg_train/seg_train", "seg_test/seg_test")
    folders = [f"{part}/{kind}" for part in parts for kind in ("cat", "dog")]
    told = begin(many(tmp_path / "p", *folders, *rest), capsys)
    protocol = load_study("mine").protocol
    dataset = imagefolder(protocol.data_dir, protocol.labels)
    assert (dataset.classes, len(dataset)) == (["cat", "dog"], 96)
    assert dataset.official_test.sum() == 48
    assert not rest or f"{rest[0].split('/')[0]} has no class folders, so its images are" in told
    assert ("Left out, not images of a class: 24 files" in told) == bool(rest)


@pytest.mark.fault("folders that are no classes")
@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("images", "annotations/trimaps"), "masks or annotations .* 24 in all"),
        (("cat/images", "cat/masks", "dog/images"), "masks or annotations"),
        (("cat/images", "cat/Masken", "dog/images"), "masks or annotations"),
        (("cat/images", "cat/overlay", "dog/images"), "masks or annotations"),
        (("images/train", "images/val", "mask/train", "mask/val"), "masks or annotations"),
        (("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"), "masks .* 48 in all"),
        (("scans", "scan_segmentations"), "masks or annotations"),
        (("cat", "dog", "thumbnails"), "thumbnails .* 24 in all, such as thumbnails/img00"),
        (("train/cat/thumbs", "train/dog", "test/cat", "test/dog"), "thumbnails .* 24 in all"),
        (("images_001", "images_002", "images_003"), "numbered pieces"),
        (("part1/cat", "part2/cat"), "numbered pieces"),
        (("00000", "01000", "02000"), "numbered pieces"),
        (("HAM_images_part_1", "HAM_images_part_2"), "numbered pieces"),
        (("archive (1)", "archive (2)"), "numbered pieces"),
        (("100CANON", "101CANON"), "numbered pieces"),
        (("part one", "part two"), "numbered pieces"),
        (("photos 1 of 2", "photos 2 of 2"), "numbered pieces"),
        (("set1", "set2"), "numbered pieces"),
        (("imgs.7z.001", "imgs.7z.002"), "numbered pieces"),
        (("training_images", "additional"), r"parts of a data set \(training_images\) and other"),
        (("train_set", "submission"), r"parts of a data set \(train_set\) and other"),
        (("drive-download-20240501T1-001", "drive-download-20240501T1-002"), "numbered pieces"),
        (("site 1/cat", "site 1/dog", "site 2/cat", "site 2/dog"), "numbered pieces"),
        (("train/images_1", "train/images_2", "test/images_1", "test/images_2"), "pieces"),
        (("a/train/cat", "a/test/cat", "b/train/cat", "b/test/cat"), "further folders inside"),
        (("train/cat", "train/dog", "extra"), r"parts of a data set \(train\) and other"),
        (("train/cat", "train/dog", "test/images"), "test has no class folders"),
        (("train/n1/images", "train/n2/images", "val/images", "test/images"), "no class folders"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path, own_studies, capsys, folders, told):
    root = tmp_path / "p"
    for folder in folders:
        for seed in range(24):
            photo(root / folder / f"img{seed:02d}.png", seed)
    with pytest.raises(InputError, match=told):
        begin(root, capsys)
    assert not list(own_studies.glob("*"))


@pytest.mark.fault("folders that are no classes")
def test_masks_beside_images_are_refused(tmp_path, own_studies, capsys):
    for kind in ("benign", "malignant"):
        for seed in range(24):
            photo(tmp_path / kind / f"{kind} ({seed}).png", seed)
            photo(tmp_path / kind / f"{kind} ({seed})_mask.png", seed + 100)
    with pytest.raises(InputError, match=r"48 in all, such as benign/benign \(0\)_mask"):
        begin(tmp_path, capsys)


@pytest.mark.fault("folders that are no classes")
def test_masks_in_a_folder_beside_their_images_are_refused(tmp_path, own_studies, capsys):
    for seed in range(24):
        photo(tmp_path / "CXR_png" / f"CXR_{seed}.png", seed)
        photo(tmp_path / "lungs" / f"CXR_{seed}_mask.png", seed + 100)
    with pytest.raises(InputError, match="24 in all, such as lungs/CXR_0_mask"):
        begin(tmp_path, capsys)


@pytest.mark.parametrize(
    "kinds",
    [
        ("mask", "no_mask"),
        ("0", "1", "2"),
        ("class1", "class2"),
        ("labels", "bottles"),
        ("100", "200"),
        ("part_a", "part_b"),
        ("with_mask", "without_mask"),
        ("thumbs_up", "thumbs_down"),
    ],
)
def test_classes_with_such_names_are_classes(tmp_path, own_studies, capsys, kinds):
    for place, kind in enumerate(kinds):
        for seed in range(24):
            photo(tmp_path / "p" / kind / f"img{seed:02d}.png", 1000 * place + seed)
    begin(tmp_path / "p", capsys)
    assert imagefolder(load_study("mine").protocol.data_dir).classes == sorted(kinds)


@pytest.mark.fault("files of the user in the way")
def test_a_table_of_the_user_is_used_where_it_lies_and_never_removed(photos, own_studies, capsys):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    own_studies.mkdir()
    labels = own_studies / "mine.csv"
    lines = [f"{name};{'ab'[place % 2]};Ann" for place, name in enumerate(names)]
    labels.write_text("\n".join(["path;label;taken by", *lines, "gone.png;a;Ann"]))
    before = labels.read_bytes()
    with pytest.raises(InputError, match=r"1 images are not in .*gone\.png"):
        begin(photos, capsys, labels=labels)
    assert labels.read_bytes() == before
    labels.write_text("\n".join(["path;label;taken by", *lines]))
    before = labels.read_bytes()
    begin(photos, capsys, labels=labels)
    assert labels.read_bytes() == before
    assert load_study("mine").protocol.labels == str(labels)


@pytest.mark.fault("files of the user in the way")
def test_a_file_of_that_name_is_not_overwritten(parts, own_studies, capsys):
    own_studies.mkdir()
    (own_studies / "mine.csv").write_text("my,only,copy\n")
    with pytest.raises(InputError, match=r"mine\.csv exists already.*Choose another name"):
        begin(parts("train", "test"), capsys)
    assert (own_studies / "mine.csv").read_text() == "my,only,copy\n"


@pytest.mark.fault("files of the user in the way")
@pytest.mark.parametrize("later", ["written", "equal", "interrupted"])
def test_a_study_that_appears_meanwhile_is_kept(photos, own_studies, capsys, monkeypatch, later):
    write, mine = new_command.studies.write, own_studies / "mine.yml"

    def slow(*arguments, **named):
        own_studies.mkdir(exist_ok=True)
        mine.write_text("title: by hand")
        if later == "interrupted":
            raise KeyboardInterrupt
        if later == "equal":
            monkeypatch.setattr(new_command.studies, "_yaml", lambda *_: "title: by hand")
        return write(*arguments, **named)

    monkeypatch.setattr(new_command.studies, "write", slow)
    with pytest.raises((InputError, KeyboardInterrupt)) as ended:
        begin(photos, capsys)
    assert ended.type is KeyboardInterrupt or "File exists" in str(ended.value)
    assert mine.read_text() == "title: by hand"


@pytest.mark.fault("bad images")
def test_deep_colour_in_separate_planes_is_told(tmp_path):
    save_deep_planes(tmp_path / "deep.tif")
    facts, _ = look_module._facts(tmp_path / "deep.tif")
    assert "more than 8 bits" in facts["error"]


@pytest.mark.fault("files of the user in the way")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_no_table(parts, own_studies, capsys, monkeypatch, number):
    def ended(*_, **__):
        assert (own_studies / "mine.csv").is_file()
        signal.raise_signal(number)

    monkeypatch.setattr(new_command.studies, "write", ended)
    before = signal.signal(number, signal.SIG_DFL)  # whatever started the tests has set
    try:
        with pytest.raises(KeyboardInterrupt):
            begin(parts("train", "test"), capsys)
        assert not (own_studies / "mine.csv").exists()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_command_that_outlives_its_terminal_goes_on(photos, own_studies, capsys, monkeypatch):
    """As `nohup` starts it."""
    monkeypatch.setattr(new_command.studies, "write", lambda *_, **__: hung_up())
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(RuntimeError, match="went on"):
            begin(photos, capsys)
    finally:
        signal.signal(signal.SIGHUP, before)


def hung_up():
    signal.raise_signal(signal.SIGHUP)
    raise RuntimeError("went on")


@pytest.mark.fault("folders that are no classes")
def test_a_class_that_may_be_a_missing_label_is_told(tmp_path, capsys):
    for name in ("cat", "nan", "?", "+", "-", "+1", "none", "no_label", "Unsorted"):
        photo(tmp_path / "p" / name / "1.png", 1)
    dataset = imagefolder(str(tmp_path / "p"))
    new_command.tell(dataset, look(dataset), "", Console(width=300))
    told = re.findall(r"Class (\S+) looks like a missing label", capsys.readouterr().out)
    assert told == ["?", "Unsorted", "nan", "no_label"]


def test_of_very_many_classes_the_number_of_the_others_is_told(capsys):
    kinds = [f"c{number:03d}" for number in range(130)]
    names = [f"{number}.png" for number in range(260)]
    pixels = np.arange(260, dtype=np.uint8).repeat(16).reshape(260, 4, 4)
    dataset = Dataset("own", kinds, np.repeat(np.arange(130), 2), names, [], pixels)
    new_command.tell(dataset, look(dataset), "", Console(width=200))
    assert re.search("30 more classes .* 2 to 2 each", capsys.readouterr().out)


def test_the_column_of_labels_is_told_where_several_could_be(photos, tmp_path):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    labels = tmp_path / "t.csv"
    lines = [f"{name},{'ab'[i % 2]},{'xyz'[i % 3]}" for i, name in enumerate(names)]
    labels.write_text("\n".join(["path,target,class", *lines]))
    (remark,) = imagefolder(str(photos), str(labels)).remarks
    assert remark == "The labels are those of column class, not of target."


def test_a_failure_leaves_nothing_that_was_written(parts, own_studies, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(new_command.sheet, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(parts("train", "test"), capsys)
    assert not list(own_studies.glob("mine.*"))


@pytest.mark.fault("files of the user in the way")
@pytest.mark.parametrize("last", ["csv", "yml"])
def test_a_stop_right_after_a_file_was_written_removes_it(
    parts, own_studies, capsys, monkeypatch, last
):
    def interrupted(path, data):
        create(path, data)
        if path.suffix == f".{last}":
            raise KeyboardInterrupt

    create = files.create
    monkeypatch.setattr(files, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(parts("train", "test"), capsys)
    assert not list(own_studies.glob("mine.*"))


@pytest.mark.fault("studies made again under their name")
@pytest.mark.parametrize("left", ["results", "weights", "variant", "variant's weights"])
def test_what_an_earlier_study_of_that_name_left_is_noticed(photos, own_studies, capsys, left):
    kept = {
        "results": paths.records("mine") / "01-freeze0-none-plateau-seed0.json",
        "weights": paths.CACHE / "weights" / "mine" / "x.safetensors",
        "variant": paths.records("mine~0123456789ab") / "01-freeze0-none-plateau-seed0.json",
        "variant's weights": paths.CACHE / "weights" / "mine~0123456789ab" / "x.safetensors",
    }[left]
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    with pytest.raises(InputError, match=r"earlier study 'mine' left .*Choose another name, or"):
        begin(photos, capsys)
    assert kept.is_file()


def test_images_that_a_table_does_not_name_are_told(photos, own_studies, capsys):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    labels = photos.parent / "labels.csv"
    rows = {"path": names, "label": [f"{'ab'[place % 2]} " for place in range(24)]}
    pd.DataFrame(rows).to_csv(labels, index=False)
    told = begin(photos, capsys, labels=labels)
    assert "2 files or folders, cat/almost.jpg, dog/copy.bmp" in told
    assert "24 labels were evened out" in told


def test_a_test_set_of_the_same_objects_cannot_be_kept(photos, own_studies, capsys):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    rows = {
        "path": names,
        "label": [name.split("/")[0] for name in names],
        "split": ["test" if place % 4 == 0 else "train" for place in range(24)],
        "who": [place % 12 // 2 + 10 * (place // 12) for place in range(24)],
    }
    pd.DataFrame(rows).to_csv(photos.parent / "t.csv", index=False)
    told = begin(photos, capsys, labels=photos.parent / "t.csv", groups="who")
    assert "test set cannot be kept: 6 objects have images both in it and outside" in told
    design = load_study("mine")
    dataset = imagefolder(design.protocol.data_dir, design.protocol.labels, design.protocol.groups)
    found = split_dataset(dataset, next(design.runs()))
    inside = [set(dataset.groups[part]) for part in (found.train, found.validation, found.test)]
    assert sum(map(len, inside)) == len(set.union(*inside))


def test_copies_do_not_make_a_class_large_enough(tmp_path, own_studies, capsys):
    many(tmp_path / "p", "cat")
    for place in range(12):
        photo(tmp_path / "p" / "dog" / f"{place}.{('png', 'bmp')[place % 2]}", 500 + place % 3)
    with pytest.raises(InputError, match=r"'dog' has 3 images \(12 with copies\)"):
        begin(tmp_path / "p", capsys)


def test_of_animations_it_is_said_that_one_frame_is_used(photos, own_studies, capsys):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "cat" / "film.gif", save_all=True, append_images=frames[1:])
    assert "Of 1 animations the first frame is used: cat/film.gif" in begin(photos, capsys)


def test_a_class_without_a_font_is_numbered_and_told(photos, own_studies, capsys, monkeypatch):
    (photos / "cat").rename(photos / "\u732b")
    (photos / "dog").rename(photos / "\u0441\u043e\u0431\u0430\u043a\u0430")
    monkeypatch.setattr(new_command.sheet, "findSystemFonts", list)
    told = begin(photos, capsys)
    assert "Class \u732b appears as number" in told
    assert "Class \u0441" not in told  # Matplotlib brings a font with Cyrillic letters


@pytest.mark.fault("data sets that write elsewhere")
@pytest.mark.parametrize("name", ["x/../../y", "..", "", "a\\b", "a\0b", "/etc/x", 7])
def test_names_that_data_give_cannot_lead_out_of_a_folder(name):
    with pytest.raises(InputError, match="not that of a single file"):
        layouts.component(name)


@pytest.mark.fault("data sets that write elsewhere")
@pytest.mark.parametrize("file", ["dataset_dict.json", "state.json"])
def test_a_data_set_on_disk_writes_and_reads_in_its_folders_only(tmp_path, own_folders, file):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["x/../../../../out"]}')
    if file == "state.json":
        (tmp_path / "dataset_dict.json").unlink()
        (tmp_path / file).write_text('{"_data_files": [{"filename": "../../secret.arrow"}]}')
    with pytest.raises(InputError, match="not that of a single file"):
        layouts.tabulate("mine", tmp_path, None)


def test_a_selection_of_rows_on_disk_is_refused_not_taken_whole(tmp_path, own_folders):
    (tmp_path / "dataset_info.json").write_text('{"features": null}')
    state = {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "i"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"selection of rows.*flatten_indices"):
        layouts.tabulate("mine", tmp_path, None)


@pytest.mark.parametrize("text", ["[]", "{", '{"splits": 3}', '{"splits": ["train"]}'])
def test_a_damaged_data_set_on_disk_is_one_sentence(tmp_path, own_folders, text):
    (tmp_path / "dataset_dict.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read as a table of images"):
        layouts.tabulate("mine", tmp_path, None)


def test_a_folder_whose_name_no_study_can_hold_is_told(photos, own_studies, capsys):
    target = photos.parent / os.fsdecode(b"caf\xe9")
    photos.rename(target)
    with pytest.raises(InputError, match=r"cannot be written down\. Rename it"):
        begin(target, capsys)


def test_a_folder_of_unreadable_images_only_is_told(tmp_path, own_studies, capsys):
    for kind in ("cat", "dog"):
        (tmp_path / "p" / kind).mkdir(parents=True)
        (tmp_path / "p" / kind / "1.png").write_bytes(b"x")
    with pytest.raises(InputError, match="2 images cannot be read"):
        begin(tmp_path / "p", capsys)


def test_images_that_are_equal_to_the_network_do_not_make_a_class(tmp_path, own_studies, capsys):
    many(tmp_path / "p", "cat")
    (tmp_path / "p" / "dog").mkdir()
    for place in range(12):
        line = Image.new("RGB", (3000, 6), "blue")
        line.putpixel((0, 0), (place, 0, 0))
        line.save(tmp_path / "p" / "dog" / f"{place}.png")
    with pytest.raises(InputError, match=r"'dog' has 1 images \(others are copies.* pixels"):
        begin(tmp_path / "p", capsys)
    assert not list(own_studies.glob("*"))


@pytest.mark.fault("secrets in URLs")
@pytest.mark.parametrize("given", ["images", "labels"])
def test_a_url_is_refused_and_not_repeated(photos, own_studies, capsys, given):
    url = Path("https://ada:secret@host/photos.zip?sig=secret")
    options = {"images": photos, "labels": None} | {given: url}
    with pytest.raises(InputError, match="not a URL") as told:
        begin(**options, capsys=capsys)
    assert "secret" not in str(told.value)


def test_a_folder_may_be_called_like_a_user_who_does_not_exist(
    photos, own_studies, capsys, monkeypatch
):
    photos.rename(photos.with_name("~nobody-here"))
    monkeypatch.chdir(photos.parent)
    begin(Path("~nobody-here"), capsys)
    assert "~nobody-here" in (own_studies / "mine.yml").read_text()
