"""The data folder: which one, and who can enter it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.paths import home, private_folder, write_private
from backends.errors import Invalid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_option_wins_over_the_environment_over_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home(str(tmp_path / "option")) == tmp_path / "option"
    assert home() == tmp_path / "env"
    monkeypatch.delenv("CAUSEWAY_HOME")
    assert home() == tmp_path / "data" / "causeway"
    assert [mode(path) for path in (tmp_path / "option", tmp_path / "env", home())] == [0o700] * 3


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert mode(private_folder(tmp_path)) == 0o700


def test_a_relative_folder_and_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home("here") == tmp_path / "here"
    assert home("~/there") == tmp_path / "me" / "there"


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(Invalid, match="another user") as caught:
        private_folder(tmp_path)
    assert "--home" in caught.value.cure


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    for path in (tmp_path / "f", tmp_path / "f" / "below"):
        with pytest.raises(Invalid, match="cannot be used") as caught:
            private_folder(path)
        assert caught.value.cure and caught.value.field == "home"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new" and mode(path) == 0o600
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        write_private(target, b"x")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "secret"]


def test_an_open_folder_with_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "passwd").touch()
    with pytest.raises(Invalid, match="holds other things"):
        home(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o755
    (folder / "causeway.db").touch()
    assert home(str(folder)).stat().st_mode & 0o777 == 0o700
