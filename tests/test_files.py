"""Crash-safe writes, and what is said when they are not possible."""

import errno
import os

import pytest

from effnet_core import files
from effnet_core.errors import InputError, cannot
from effnet_report import open_files


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "Make the folder writable"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EIO, "at the disk"),
    ],
)
def test_each_error_of_the_system_has_its_own_remedy(code, remedy):
    told = str(cannot("write x", OSError(code, os.strerror(code))))
    assert told.startswith(f"Cannot write x: {os.strerror(code)}. ")
    assert remedy in told


def test_too_few_open_files_are_noticed_before_a_run(monkeypatch):
    limits = [(64, 1024)]
    monkeypatch.setattr("resource.getrlimit", lambda _: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: limits.append(wanted))
    open_files.check()
    assert limits[-1] == (1024, 1024)  # as many as the system allows
    limits.append((64, 64))
    with pytest.raises(InputError, match=r"may open 64 files here.*ulimit -n"):
        open_files.check()


def test_what_a_library_writes_for_its_owner_only_is_readable_like_the_rest(tmp_path):
    with files.replaced(tmp_path / "weights") as partial:
        partial.touch(mode=0o600)
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_is_tried_before_work_and_left_empty(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_disk_without_room_is_noticed_before_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"Cannot write in .*No space left"):
        files.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
