"""Files that releases have in common are on the disk once; what only looks the same is not taken for it."""

import os
from pathlib import Path
from typing import Any

import pytest
from api_fixtures import Catalogue
from model_dirs import copied, tree_state, vouch_for

from audiorec.release import open_release, publish
from audiorec.release.sharing import Usage, disk_bytes, share, usage


@pytest.fixture
def model_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    return copied(catalogue.model_dir, tmp_path / "model")


def staged(model_dir: Path) -> Path:
    return copied(model_dir / "versions" / "0001", model_dir / "work" / "release")


def test_a_release_that_is_the_same_costs_its_manifest(model_dir: Path) -> None:
    release_dir = publish(staged(model_dir), model_dir)
    one, two = usage([model_dir / "versions" / "0001", release_dir]).values()
    manifest_bytes = (release_dir / "manifest.json").stat().st_size
    assert one == two == Usage(sum(path.stat().st_size for path in release_dir.iterdir()), manifest_bytes)
    assert disk_bytes([model_dir / "versions" / "0001", release_dir]) == one.n_bytes + manifest_bytes
    assert usage([release_dir])["0002"].n_own_bytes == one.n_bytes
    open_release(model_dir, verify=True)


def test_a_file_that_differs_stays_its_own(model_dir: Path) -> None:
    staging = staged(model_dir)
    (staging / "refused.tsv").write_text("clip_id\tcode\tmessage\nx\ty\tz\n")
    content = (staging / "refused.tsv").read_bytes()
    vouch_for(staging)
    share(staging, model_dir / "versions" / "0001")
    assert (staging / "refused.tsv").read_bytes() == content
    assert (staging / "encoder.pt").samefile(model_dir / "versions" / "0001" / "encoder.pt")


def test_what_has_suffered_is_not_shared(model_dir: Path) -> None:
    """A release that is built again to mend a damaged one must not take the damage over."""
    damaged = model_dir / "versions" / "0001" / "windows.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    staging = staged(model_dir)
    damaged.write_bytes(content)
    share(staging, model_dir / "versions" / "0001")
    assert not (staging / "windows.npy").samefile(damaged)
    assert (staging / "embeddings.npy").samefile(damaged.with_name("embeddings.npy"))
    open_release(staging, verify=True)


def test_without_a_release_to_share_with(model_dir: Path, tmp_path: Path) -> None:
    staging = staged(model_dir)
    state = tree_state(staging)
    share(staging, tmp_path / "nowhere")
    assert tree_state(staging) == state


def test_without_hard_links(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    staging = staged(model_dir)
    state = tree_state(staging)
    share(staging, model_dir / "versions" / "0001")
    assert tree_state(staging) == state


def test_what_was_left_by_a_killed_one_is_no_hindrance(model_dir: Path) -> None:
    staging = staged(model_dir)
    (staging / ".part-encoder.pt").write_text("left")
    share(staging, model_dir / "versions" / "0001")
    assert (staging / "encoder.pt").samefile(model_dir / "versions" / "0001" / "encoder.pt")
    assert not (staging / ".part-encoder.pt").exists()


def test_a_release_that_has_just_been_deleted_costs_nothing(tmp_path: Path) -> None:
    assert usage([tmp_path / "0001"]) == {"0001": Usage(0, 0)}
