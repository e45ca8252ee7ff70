"""Patches: every recipe sounds, is what its seed says, and stays near its doppelgangers; families can be told apart."""

import numpy as np
import pytest
import torch

from audiorec.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm, windows
from audiorec.encoders import make_encoder
from audiorec.training.corpus.clip import MAX_S, MIN_S
from audiorec.training.corpus.families import FAMILIES
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.patches import TAKES, patches, render

RECIPES = [(label, kind) for label, family in FAMILIES.items() for kind in range(len(family.recipes))]


def rendered(label: str, kind: int, patch_seed: int = 3, take_seed: int = 4, spread: float = 0.05) -> Pcm | None:
    return render(FAMILIES[label], kind, Patch((patch_seed,), (take_seed,), spread))


@pytest.mark.parametrize(("label", "kind"), RECIPES)
def test_a_recipe_sounds_and_is_what_its_seeds_say(label: str, kind: int) -> None:
    pcm = rendered(label, kind)
    assert pcm is not None
    assert np.abs(pcm).max() == FULL_SCALE
    assert MIN_S * SAMPLE_RATE_HZ <= len(pcm) <= MAX_S * SAMPLE_RATE_HZ
    assert 1e-3 < np.sqrt(np.mean((pcm / FULL_SCALE) ** 2)) < 0.99, "neither a click nor a constant"
    np.testing.assert_array_equal(pcm, rendered(label, kind))


@pytest.mark.parametrize(("label", "kind"), RECIPES)
def test_takes_of_a_patch_share_all_that_is_not_a_setting(label: str, kind: int) -> None:
    for seed in range(4):
        takes = [Patch((seed,), (100 + take,), 0.15) for take in range(2)]
        for patch in takes:
            FAMILIES[label].recipes[kind](patch)
        assert takes[0].riff.random() == takes[1].riff.random(), "one has thrown the dice more often"


@pytest.mark.parametrize("label", FAMILIES)
def test_takes_differ_and_so_do_patches(label: str) -> None:
    first, take, other = rendered(label, 0), rendered(label, 0, take_seed=5), rendered(label, 0, patch_seed=6)
    assert not np.array_equal(first, take)
    assert not np.array_equal(first, other)


def test_a_random_patch_is_never_a_sound_that_cannot_be_heard() -> None:
    n_instances, clips = 2 * len(FAMILIES), list(patches((9, 9), TAKES * 2 * len(FAMILIES)))
    assert len(clips) >= 0.98 * TAKES * n_instances
    assert {clip.label for clip in clips} == set(FAMILIES), "the families come in turn"
    assert all(len(clip.pcm) and len(clip.parameters) > 0 for clip in clips)
    assert all(0 <= value <= 1 for clip in clips for value in clip.parameters)


def test_a_shard_of_patches_is_a_function_of_its_seed() -> None:
    first, again, other = (list(patches(seed, 30)) for seed in ((1, 0, 0), (1, 0, 0), (1, 0, 1)))
    assert [clip.instance for clip in first] == [clip.instance for clip in again]
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left.pcm, right.pcm)
    assert not {clip.instance for clip in first} & {clip.instance for clip in other}
    assert any(not np.array_equal(left.pcm, right.pcm) for left, right in zip(first, other, strict=False))


def vectors(clips: list[Pcm]) -> np.ndarray:
    """MFCC statistics, standardised over these clips."""
    encoder = make_encoder("MFCC")
    with torch.inference_mode():
        raw = np.concatenate([encoder.core(encoder.pre(torch.from_numpy(windows(pcm)[:1, None]))) for pcm in clips])
    return (raw - raw.mean(axis=0)) / raw.std(axis=0)


def nearest(clips: list[Pcm]) -> np.ndarray:
    """The row of each clip's nearest neighbour."""
    placed = vectors(clips)
    distances = np.linalg.norm(placed[:, None] - placed[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(axis=1)


def test_the_nearest_of_a_doppelganger_is_mostly_its_twin() -> None:
    pairs = [(label, take) for label in list(FAMILIES)[::3] for take in (1, 2)]
    clips = [pcm for label, take in pairs if (pcm := rendered(label, 0, 1, take)) is not None]
    assert len(clips) == len(pairs)
    twins = np.arange(len(pairs)) ^ 1
    assert np.mean(nearest(clips) == twins) > 0.4, f"by chance {1 / len(clips):.3f}"


def test_the_nearest_of_a_patch_is_often_of_its_family() -> None:
    n_patches, labels = 8, list(FAMILIES)[1::5]
    clips = [pcm for label in labels for patch in range(n_patches) if (pcm := rendered(label, 0, patch)) is not None]
    assert len(clips) == n_patches * len(labels)
    family = np.arange(len(clips)) // n_patches
    same_family = np.mean(family[nearest(clips)] == family)
    assert same_family > 0.3, f"by chance {1 / len(labels):.3f}"


def test_a_wider_spread_leads_further_away() -> None:
    moved = []
    for spread in (0.0, 0.3):
        knobs = [[Patch((seed,), (seed, take), spread).knob(0, 1) for take in (1, 2)] for seed in range(50)]
        moved.append(np.mean([abs(left - right) for left, right in knobs]))
    assert moved[0] == 0 < 0.1 < moved[1]


def test_settings_stay_in_their_ranges_and_keep_their_order() -> None:
    patch = Patch((1,), (2,), 5.0)
    values = [patch.knob(2, 3) for _ in range(200)] + [patch.ratio(100, 1000) / 500 for _ in range(200)]
    assert 2 <= min(values[:200]) <= max(values[:200]) <= 3
    assert 0.2 <= min(values[200:]) <= max(values[200:]) <= 2
    assert len(patch.parameters) == 400
    one, two = (Patch((1,), (take,), 0.1) for take in (1, 2))
    assert [one.pick("abcdef") for _ in range(20)] == [two.pick("abcdef") for _ in range(20)]
    assert one.whole(1, 1000) == two.whole(1, 1000)
    assert one.chance(0.5) == two.chance(0.5)


def test_a_part_begins_anew_every_time() -> None:
    part = Patch((1,), (2,), 0.1).part()
    assert part().knob(0, 1) == part().knob(0, 1)
    patch = Patch((1,), (2,), 0.1)
    assert patch.part()().knob(0, 1) != patch.part()().knob(0, 1)
