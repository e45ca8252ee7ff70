"""`audiorec add` and `remove` killed anywhere, or without room: nothing half done is seen, and the same ends it."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from children import Ended, Kill, audiorec_build, audiorec_command
from sounds import bursts, encoded, noise, tone

from audiorec.errors import NoSpace
from audiorec.release import Release, open_release, release_names

N_POINTS = 8
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Undisturbed:
    """A model directory, and how each command ends in a copy of it that nobody disturbs.

    commands: {"add" or "remove": its arguments after the model directory}.
    """

    before: Path
    commands: dict[str, list[str]]
    ended: dict[str, Ended]
    after: dict[str, Release]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    sounds = {f"old/{hz}.wav": tone(0.3, hz) for hz in (200, 400, 900, 2500)}
    sounds |= {f"new/{seed}.wav": noise(0.2 + 0.1 * seed, seed) for seed in range(3)}
    sounds["new/long.wav"] = bursts(20.0, 3)
    for name, sound in sounds.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(sound))
    before = folder / "before"
    assert audiorec_build(folder / "old", before, folder / "scratch").code == 0
    shutil.rmtree(before / "work")
    commands = {"add": [str(folder / "new"), "--workers", "1"], "remove": ["200.wav", "900.wav"]}
    ended, after = {}, {}
    for name, arguments in commands.items():
        model_dir = folder / name
        shutil.copytree(before, model_dir, symlinks=True)
        ended[name] = audiorec_command([name, str(model_dir), *arguments], model_dir, folder / "scratch")
        assert ended[name].code == 0, ended[name].output
        after[name] = open_release(model_dir, verify=True)
    return Undisturbed(before, commands, ended, after)


@pytest.fixture
def model_dir(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    shutil.copytree(undisturbed.before, tmp_path / "model", symlinks=True)
    return tmp_path / "model"


def run(undisturbed: Undisturbed, name: str, model_dir: Path, kill: Kill | None = None) -> Ended:
    command = [name, str(model_dir), *undisturbed.commands[name]]
    return audiorec_command(command, model_dir, model_dir.with_name("scratch"), kill or Kill())


def assert_as_if_undisturbed(model_dir: Path, expected: Release) -> None:
    got = open_release(model_dir, verify=True)
    assert release_names(model_dir) == ["0001", "0002"]
    assert got.manifest.change == expected.manifest.change
    np.testing.assert_allclose(got.embeddings, expected.embeddings, atol=1e-6)
    for name in ("metadata.tsv", "metadata.arrow", "window_rows.npy", "refused.tsv", "changes.tsv"):
        assert (got.directory / name).read_bytes() == (expected.directory / name).read_bytes()
    assert got.manifest.files.keys() == {path.name for path in got.directory.iterdir()} - {"manifest.json"}
    assert sorted(path.name for path in (model_dir / "work").iterdir()) == ["lock"]
    assert not (model_dir / ".current").is_symlink()


@pytest.mark.parametrize("point", range(N_POINTS))
@pytest.mark.parametrize("name", ["add", "remove"])
def test_killed_before_a_change_to_the_disk(undisturbed: Undisturbed, model_dir: Path, name: str, point: int) -> None:
    n_changes = len(undisturbed.ended[name].changes)
    assert n_changes > N_POINTS
    ended = run(undisturbed, name, model_dir, Kill(before_change=1 + point * (n_changes - 1) // (N_POINTS - 1)))
    assert ended.code == KILLED, ended.output
    open_release(model_dir, verify=True)
    again = run(undisturbed, name, model_dir)
    assert again.code == 0, again.output
    assert_as_if_undisturbed(model_dir, undisturbed.after[name])


@pytest.mark.parametrize("change", ["symlink .current", "rename versions/0002", "rename current"])
@pytest.mark.parametrize("name", ["add", "remove"])
def test_killed_while_it_publishes(undisturbed: Undisturbed, model_dir: Path, name: str, change: str) -> None:
    """Each command meets what the other has left as well."""
    kill = Kill(before_change=1 + undisturbed.ended[name].changes.index(change))
    assert run(undisturbed, name, model_dir, kill).code == KILLED
    assert open_release(model_dir, verify=True).name == "0001"
    is_there = change == "rename current"
    other = "remove" if name == "add" else "add"
    assert run(undisturbed, other, model_dir).code == 0
    release = open_release(model_dir, verify=True)
    assert release.manifest.change is not None
    assert (release.name, release.manifest.change.of) == (("0003", "0002") if is_there else ("0002", "0001"))


@pytest.mark.parametrize(("stage", "after_items"), [("convert", 1), ("convert", 3), ("encode", 1), ("encode", 4)])
def test_killed_between_two_clips(undisturbed: Undisturbed, model_dir: Path, stage: str, after_items: int) -> None:
    assert run(undisturbed, "add", model_dir, Kill(stage=stage, after_items=after_items)).code == KILLED
    ledger = (model_dir / "work" / "added" / "wav" / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 1 + (after_items if stage == "convert" else 4)  # the first line names the recipe
    assert run(undisturbed, "add", model_dir).code == 0
    assert_as_if_undisturbed(model_dir, undisturbed.after["add"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["add", "remove"])
def test_on_a_full_disk_nothing_is_published_until_there_is_room(
    undisturbed: Undisturbed, small_disk: Path, name: str
) -> None:
    model_dir = small_disk / "model"
    shutil.copytree(undisturbed.before, model_dir, symlinks=True)
    used = subprocess.run(["du", "-sk", small_disk], capture_output=True, text=True, check=True)
    told = []
    for kilobytes in range(int(used.stdout.split()[0]), 4000, 12):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", small_disk], check=True)
        command = [name, str(model_dir), *undisturbed.commands[name]]
        ended = audiorec_command(command, model_dir, small_disk.with_name("scratch"))
        if ended.code == 0:
            break
        assert ended.code == NoSpace.exit_code, (kilobytes, ended)
        assert open_release(model_dir, verify=True).name == "0001"
        told.append(ended.output)
    assert len(told) > 2
    assert all("No space left on device" in message and message.count("\n") == 1 for message in told)
    assert_as_if_undisturbed(model_dir, undisturbed.after[name])


def test_a_full_disk_can_be_pruned(undisturbed: Undisturbed, small_disk: Path) -> None:
    model_dir, scratch = small_disk / "model", small_disk.with_name("scratch")
    shutil.copytree(undisturbed.before, model_dir, symlinks=True)
    assert audiorec_command(["remove", str(model_dir), "200.wav"], model_dir, scratch).code == 0
    with suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))
    ended = audiorec_command(["prune", str(model_dir), "--keep", "1"], model_dir, scratch)
    assert ended.code == 0, ended.output
    assert release_names(model_dir) == ["0002"]
