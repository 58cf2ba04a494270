"""Images behind a URL: fetched once, the same images, and what goes wrong is told."""

import io
import shutil
import zipfile
from urllib.parse import unquote_plus

import fsspec
import pytest
from PIL import Image

from effnet_core.data import remote
from effnet_core.data.datasets import imagefolder
from effnet_core.data.images import load_images
from effnet_core.errors import InputError
from effnet_core.study.design import Settings, is_url, place_name
from effnet_core.study.studies import load_study, override_lines

STUDY = """
title: Photos that lie elsewhere
seeds: [0]
protocol: {{dataset: imagefolder, data_dir: "{url}", image_size: 32}}
"""


@pytest.fixture
def elsewhere(folder, own_folders):
    """The photos of `folder` on a file system that is no disk of this machine."""
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/photos", recursive=True)
    yield "memory://bucket/photos"
    memory.store.clear()


def test_a_folder_behind_a_url_is_the_same_data_set(folder, elsewhere):
    there, here = imagefolder(elsewhere), imagefolder(str(folder))
    assert there.names == here.names
    assert there.fingerprint == here.fingerprint


def test_it_is_fetched_once(elsewhere, capsys):
    first = imagefolder(elsewhere).fingerprint
    assert "Fetching photos, once" in capsys.readouterr().out
    fsspec.filesystem("memory").store.clear()
    assert imagefolder(elsewhere).fingerprint == first
    assert capsys.readouterr().out == ""


def test_an_archive_and_a_table_can_be_behind_urls(folder, own_folders):
    archive = shutil.make_archive(str(own_folders / "photos"), "zip", folder)
    table = own_folders / "labels.csv"
    table.write_text("path,label\ncat/1.png,a\ndog/1.png,b\n")
    dataset = imagefolder(f"zip://::file://{archive}", f"file://{table}")
    assert dataset.names == ["cat/1.png", "dog/1.png"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memory://nowhere/photos", r"photos cannot be fetched|Nothing is at the URL of photos"),
        ("nosuch://bucket/photos", "photos cannot be fetched.*Check the URL.*Or give a folder"),
        ("file:///nowhere/photos", r"photos cannot be fetched|Nothing is at the URL of photos"),
    ],
)
def test_what_cannot_be_fetched_is_told_and_leaves_nothing(url, told, own_folders):
    with pytest.raises(InputError, match=told):
        remote.local(url)
    assert not [path for path in (own_folders / "cache").rglob("*") if path.name == "photos"]


def test_a_study_keeps_the_url_and_a_record_only_its_name(own_folders):
    url = "https://host/photos.zip?token=secret"
    (own_folders / "mine.yml").write_text(STUDY.format(url=url))
    study = load_study(str(own_folders / "mine.yml"))
    assert study.protocol.data_dir == url
    settings: Settings = next(study.runs())
    assert settings.data_dir == url
    assert settings.recorded().data_dir == "photos.zip"


@pytest.mark.parametrize("place", ["file:///photos/..", "/photos/..", "s3://bucket/", ".."])
def test_the_copy_of_a_url_has_a_name_of_its_own(place):
    assert place_name(place) == "data"


SECRET = "s3cr3t%2Fkey+1"
WITH_SECRETS = [
    f"nosuch://host/photos.zip?token={SECRET}",
    f"zip::nosuch://host/photos.zip?sv=1&sig={SECRET}",
    f"zip://inside::nosuch://host/photos.zip?sig={SECRET}#{SECRET}",
    f"simplecache::nosuch://user:{SECRET}@host",
    f"zip::nosuch://{SECRET}:pass@host/photos.zip",
    f"nosuch://host/photos.zip?{SECRET}",
    f"zip::https://localhost:1/photos.zip?sig={SECRET}",
]


@pytest.mark.fault("secrets in URLs")
@pytest.mark.parametrize("url", WITH_SECRETS)
def test_an_error_does_not_tell_what_a_url_asks_with(own_folders, capsys, url):
    with pytest.raises(InputError) as error:
        remote.local(url)
    told = f"{error.value} {capsys.readouterr().out} {place_name(url)}"
    assert "s3cr3t" not in told
    assert "cannot be fetched from its URL" in told


@pytest.mark.fault("secrets in URLs")
@pytest.mark.parametrize("url", WITH_SECRETS)
@pytest.mark.parametrize(
    "message",
    [
        "Max retries exceeded with url: /photos.zip?sig={} (Caused by x)",
        "403, message='Forbidden', url='https://host/photos.zip?sig={}'",
        "KeyError: '{}'",
        "user {} is not known",
    ],
)
def test_whatever_a_library_repeats_of_a_secret_is_left_out(url, message):
    for form in (SECRET, unquote_plus(SECRET)):
        told = remote.without_secrets(message.format(form), url)
        assert "s3cr3t" not in told
        assert "..." in told


def test_what_differs_from_a_study_tells_no_secret_either():
    quick = load_study("quick")
    url = f"zip::https://host/photos.zip?sig={SECRET}"
    run = next(quick.runs()).model_copy(update={"data_dir": url})
    assert override_lines(run, quick) == ["data_dir: None -> photos.zip"]


def test_paths_are_no_urls():
    assert not any(map(is_url, ("photos", "/photos", "~/photos", "C:/photos", "C://photos")))
    assert all(map(is_url, ("s3://bucket/photos", "zip::https://host/photos.zip", "memory://a")))
    assert [place_name(p) for p in ("/a/photos/", "s3://b/photos/", "s3://b")] == [
        *("photos", "photos", "data"),
    ]


def zipped(path, names):
    """An archive with a picture under each of the names."""
    with zipfile.ZipFile(path, "w") as archive:
        for place, name in enumerate(names):
            data = io.BytesIO()
            Image.new("RGB", (9, 9), (place, 0, 0)).save(data, "PNG")
            archive.writestr(name, data.getvalue())


def test_an_archive_made_on_a_mac_is_read(own_folders):
    names = ["photos/cat/1.png", "photos/dog/1.png", "__MACOSX/photos/cat/._1.png"]
    zipped(own_folders / "a.zip", names)
    dataset = imagefolder(f"zip://::file://{own_folders / 'a.zip'}")
    assert dataset.names == ["cat/1.png", "dog/1.png"]


def test_a_mended_archive_is_read_again(own_folders):
    url = f"zip://::file://{own_folders / 'a.zip'}"
    zipped(own_folders / "a.zip", ["photos/cat/1.png"])
    with pytest.raises(InputError, match="at least 2 are needed"):
        imagefolder(url)
    zipped(own_folders / "a.zip", ["cat/1.png", "dog/1.png"])
    dataset = imagefolder(url)
    assert dataset.classes == ["cat", "dog"]
    (own_folders / "a.zip").unlink()
    assert imagefolder(url).fingerprint == dataset.fingerprint


def test_an_archive_with_a_broken_image_is_fetched_again_once_it_is_mended(own_folders):
    url = f"zip://::file://{own_folders / 'a.zip'}"
    zipped(own_folders / "a.zip", ["cat/1.png", "dog/1.png"])
    with zipfile.ZipFile(own_folders / "a.zip", "a") as archive:
        archive.writestr("dog/2.png", b"")
    with pytest.raises(InputError, match=r"dog/2\.png cannot be read"):
        load_images(imagefolder(url), 16)
    zipped(own_folders / "a.zip", ["cat/1.png", "dog/1.png"])
    assert len(load_images(imagefolder(url), 16)) == 2


def test_an_archive_cannot_write_beside_its_folder(own_folders):
    zipped(own_folders / "a.zip", ["cat/1.png", "dog/1.png", "../../../outside.png"])
    with pytest.raises(InputError, match="leads out of the archive's folder"):
        imagefolder(f"zip://::file://{own_folders / 'a.zip'}")
    assert not list(own_folders.rglob("outside.png"))


@pytest.mark.parametrize("url", ["http://[::1", "zip://::https://[host/photos.zip"])
def test_a_malformed_url_is_refused_before_anything_is_fetched(url, own_folders):
    (own_folders / "mine.yml").write_text(STUDY.format(url=url))
    with pytest.raises(InputError, match=r"data_dir.*Invalid IPv6 URL"):
        load_study(str(own_folders / "mine.yml"))
