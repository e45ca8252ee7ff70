"""The releases of a model directory: listed as they are, chosen after a look at every byte, deleted if nobody minds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from api_fixtures import N_CLIPS, Catalogue
from model_dirs import copied, edit_manifest, tree_state

from audiorec.errors import BadModelDir, BadSetting, Busy
from audiorec.nearest import Nearest
from audiorec.publishing.edit import remove
from audiorec.publishing.lifecycle import list_releases, prune, rollback, use
from audiorec.publishing.workplace import Workplace
from audiorec.release import current_name, make_current, open_release, publish, release_names
from audiorec.release.guard import Guard
from audiorec.release.holds import Hold, is_held


@pytest.fixture
def model_dir(catalogue: Catalogue, tmp_path: Path) -> Path:
    return copied(catalogue.model_dir, tmp_path / "model")


def grow(model_dir: Path, n_releases: int) -> None:
    """Publishes copies of the first release until there are so many."""
    while len(release_names(model_dir)) < n_releases:
        publish(copied(model_dir / "versions" / "0001", model_dir / "work" / "release"), model_dir)


def test_releases_are_listed_with_what_they_measure_and_cost(model_dir: Path) -> None:
    remove(model_dir, ["100%.wav"])
    remove(model_dir, ["what?.wav?k=3"], guard=Guard(tolerance=-2))
    one, two, three = list_releases(model_dir)
    assert [listed.name for listed in (one, two, three)] == ["0001", "0002", "0003"]
    assert [listed.current for listed in (one, two, three)] == [False, True, False]
    manifest = open_release(model_dir).manifest
    assert two.manifest == manifest
    assert two.n_bytes == sum(path.stat().st_size for path in (model_dir / "current").iterdir())
    assert 0 < two.n_own_bytes < two.n_bytes
    fields = two.to_json()
    assert fields["change"] == {"of": "0001", "n_added": 0, "n_replaced": 0, "n_removed": 1}
    assert (fields["n_clips"], fields["encoder"], fields["recall_at_10"]) == (N_CLIPS - 1, "MeanMel", 1.0)
    assert fields["p5"] == manifest.evaluation.encoder.precision["5"]
    assert fields["mean_average_precision"] == manifest.evaluation.encoder.mean_average_precision
    assert (fields["held"], fields["held_back"], fields["problem"]) == (False, None, None)
    assert (one.to_json()["change"], one.to_json()["created_at"]) == (None, one.manifest and one.manifest.created_at)
    assert three.to_json()["held_back"].startswith("recall@10 is 1.0000, expected at least 3.0000")


def test_figures_that_are_not_known_are_none(model_dir: Path) -> None:
    grow(model_dir, 2)
    edit_manifest(model_dir / "versions" / "0001", {"evaluation.encoder.n_queries": 0})
    (model_dir / "versions" / "0002" / "manifest.json").unlink()
    one, two = (listed.to_json() for listed in list_releases(model_dir))
    assert (one["p5"], one["mean_average_precision"]) == (None, None)
    assert "p5" not in two
    assert two["problem"] == "got no manifest.json in 0002, expected a release of audiorec"
    assert (two["current"], two["held"], two["n_bytes"] > 0) == (True, False, True)


def test_listing_changes_nothing_and_opens_nothing(model_dir: Path) -> None:
    grow(model_dir, 2)
    os.truncate(model_dir / "versions" / "0001" / "index.ann", 100)
    state = tree_state(model_dir)
    assert [listed.problem for listed in list_releases(model_dir)] == ["", ""]
    assert tree_state(model_dir) == state


def test_a_held_release_is_listed_as_held(model_dir: Path) -> None:
    grow(model_dir, 2)
    nearest = Nearest(model_dir / "versions" / "0001")
    assert [listed.held for listed in list_releases(model_dir)] == [True, False]
    assert len(nearest.search(nearest.release.embeddings[0])) == 10
    del nearest
    assert [listed.held for listed in list_releases(model_dir)] == [False, False]


@pytest.mark.parametrize("call", [list_releases, rollback, lambda path: use(path, "0001"), lambda path: prune(path, 1)])
def test_without_a_release_there_is_nothing_to_do(tmp_path: Path, call: Callable[[Path], object]) -> None:
    with pytest.raises(BadModelDir, match=r"got \S+/none without a release, expected a model directory: publish one"):
        call(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_any_release_can_be_used(model_dir: Path) -> None:
    grow(model_dir, 3)
    for name in ("0001", "0003", "0002", "0002"):
        assert use(model_dir, name) == name
        assert os.readlink(model_dir / "current") == f"versions/{name}"
    assert use(model_dir, str(model_dir / "versions" / "0001")) == "0001"
    assert (current_name(model_dir), len(release_names(model_dir))) == ("0001", 3)
    with pytest.raises(BadSetting, match=r"got the release '0009', expected one of 0001, 0002, 0003, or the path of"):
        use(model_dir, "0009")


@pytest.mark.parametrize("call", [lambda path: use(path, "0001"), rollback])
def test_what_is_not_whole_does_not_become_current(model_dir: Path, call: Callable[[Path], object]) -> None:
    grow(model_dir, 2)
    damaged = model_dir / "versions" / "0001" / "groups.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.chmod(0o644)
    damaged.write_bytes(content)
    with pytest.raises(BadModelDir, match=r"got groups\.npy with SHA-256"):
        call(model_dir)
    assert current_name(model_dir) == "0002"


def test_a_release_from_elsewhere_is_taken_over(model_dir: Path, tmp_path: Path) -> None:
    """As it comes from the machine that builds to the one that serves; what held it back there does not count here."""
    edit_manifest(model_dir / "versions" / "0001", {"held_back": "worse"})
    elsewhere = shutil.copytree(model_dir / "versions" / "0001", tmp_path / "release")
    state = tree_state(elsewhere)
    server_dir = tmp_path / "server"
    assert use(server_dir, str(elsewhere)) == "0001"
    assert use(server_dir, str(elsewhere)) == "0001"  # it is there
    assert open_release(server_dir, verify=True).name == "0001"
    assert tree_state(elsewhere) == state
    remove(server_dir, ["100%.wav"])
    assert use(server_dir, str(elsewhere)) == "0003"
    assert release_names(server_dir) == ["0001", "0002", "0003"]


def test_a_release_from_elsewhere_is_held_while_it_is_copied(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = copied(model_dir, tmp_path / "elsewhere") / "versions" / "0001"
    copyfile, held = shutil.copyfile, []

    def watched(source: Path, target: Path) -> None:
        held.append(is_held(elsewhere))
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", watched)
    assert use(tmp_path / "new", str(elsewhere)) == "0001"
    assert held
    assert all(held)
    assert not is_held(elsewhere)


def test_going_back_is_to_the_release_before(model_dir: Path) -> None:
    grow(model_dir, 3)
    assert rollback(model_dir) == "0002"
    assert rollback(model_dir) == "0001"
    with pytest.raises(BadModelDir, match=r"got no release before 0001, expected one to go back to"):
        rollback(model_dir)
    assert rollback(model_dir, "0003") == "0003"
    assert current_name(model_dir) == "0003"


def test_going_back_passes_over_what_was_held_back_or_cannot_be_read(model_dir: Path) -> None:
    grow(model_dir, 4)
    edit_manifest_of(model_dir, "0003", {"held_back": "worse"})
    (model_dir / "versions" / "0002" / "manifest.json").unlink()
    assert rollback(model_dir) == "0001"


def test_going_back_works_when_the_current_one_is_gone(model_dir: Path) -> None:
    grow(model_dir, 3)
    shutil.rmtree(model_dir / "versions" / "0003")
    assert rollback(model_dir) == "0002"
    (model_dir / "current").unlink()
    assert rollback(model_dir) == "0002"


def test_going_back_from_a_release_that_lies_elsewhere(model_dir: Path, tmp_path: Path) -> None:
    grow(model_dir, 2)
    elsewhere = copied(model_dir / "current", tmp_path / "release-a")
    (model_dir / "current").unlink()
    (model_dir / "current").symlink_to(elsewhere)
    with pytest.raises(BadModelDir, match="got 'release-a' for the current release, expected one of 0001, 0002"):
        rollback(model_dir)
    assert rollback(model_dir, "0001") == "0001"


def edit_manifest_of(model_dir: Path, name: str, changes: dict[str, object]) -> None:
    (model_dir / "versions" / name / "manifest.json").chmod(0o644)
    edit_manifest(model_dir / "versions" / name, changes)


def test_the_newest_stay(model_dir: Path) -> None:
    grow(model_dir, 5)
    pruned = prune(model_dir, 2)
    assert (pruned.deleted, pruned.kept, pruned.held) == (["0001", "0002", "0003"], ["0004", "0005"], [])
    assert sorted(os.listdir(model_dir / "versions")) == ["0004", "0005"]
    assert pruned.n_bytes == 3 * (model_dir / "current" / "manifest.json").stat().st_size  # the rest was shared
    open_release(model_dir, verify=True)
    assert prune(model_dir, 2).deleted == []
    with pytest.raises(BadSetting, match="got 0 releases to keep, expected at least 1"):
        prune(model_dir, 0)


def test_the_current_one_stays(model_dir: Path) -> None:
    grow(model_dir, 4)
    make_current(model_dir, "0002")
    pruned = prune(model_dir, 1)
    assert (pruned.deleted, pruned.kept) == (["0001", "0003"], ["0002", "0004"])
    assert open_release(model_dir, verify=True).name == "0002"


def test_without_a_current_one_nothing_is_deleted(model_dir: Path) -> None:
    grow(model_dir, 3)
    (model_dir / "current").unlink()
    with pytest.raises(BadModelDir, match=r"without a current release, expected one before others are deleted"):
        prune(model_dir, 1)
    assert len(release_names(model_dir)) == 3


def test_one_that_a_process_holds_stays(model_dir: Path) -> None:
    grow(model_dir, 4)
    program = "import sys; from audiorec.nearest import Nearest; n = Nearest(sys.argv[1]); print(flush=True); input()"
    command = [sys.executable, "-c", program, str(model_dir / "versions" / "0001")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with Hold(model_dir / "versions" / "0002"):
            pruned = prune(model_dir, 1)
        assert (pruned.deleted, pruned.kept, pruned.held) == (["0003"], ["0001", "0002", "0004"], ["0001", "0002"])
        process.kill()
    assert prune(model_dir, 1).deleted == ["0001", "0002"]


def test_what_cannot_be_opened_is_deleted_too(model_dir: Path) -> None:
    grow(model_dir, 3)
    (model_dir / "versions" / "0001" / "manifest.json").unlink()
    shutil.rmtree(model_dir / "versions" / "0002")
    (model_dir / "versions" / "0002").mkdir()
    assert prune(model_dir, 1).deleted == ["0001", "0002"]


def test_of_a_release_on_another_disk_the_link_is_deleted(model_dir: Path, tmp_path: Path) -> None:
    grow(model_dir, 4)
    versions = model_dir / "versions"
    (versions / "0001").rename(tmp_path / "0001")
    (versions / "0001").symlink_to(tmp_path / "0001")
    shutil.rmtree(versions / "0002")
    (versions / "0002").write_text("a file that somebody put here")
    with Hold(tmp_path / "0001"):
        assert prune(model_dir, 1).held == ["0001"]
    assert prune(model_dir, 1).deleted == ["0001"]
    assert os.listdir(versions) == ["0004"]
    open_release(tmp_path / "0001", verify=True)


def test_what_a_killed_one_left_goes_with_the_next(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(model_dir, 3)

    def killed(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(model_dir, 1)
    monkeypatch.undo()
    assert release_names(model_dir) == ["0002", "0003"]
    assert open_release(model_dir, verify=True).name == "0003"
    assert prune(model_dir, 1).deleted == ["0002"]
    assert os.listdir(model_dir / "versions") == ["0003"]


def test_somebody_at_work_is_not_disturbed(model_dir: Path) -> None:
    grow(model_dir, 2)
    with Workplace(model_dir).locked():
        for call in (lambda: use(model_dir, "0001"), lambda: rollback(model_dir), lambda: prune(model_dir, 1)):
            with pytest.raises(Busy):
                call()
        assert len(list_releases(model_dir)) == 2
