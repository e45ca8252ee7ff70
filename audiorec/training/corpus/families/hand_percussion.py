"""Hand drums, bells, blocks and shakers."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.drums import SKIN_RATIOS, finished
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import (
    RATE_HZ,
    band,
    bank,
    hold,
    modes,
    poisson,
    ring,
    scattered,
    strike,
    time_s,
    tone,
    unit,
)


def conga(patch: Patch) -> Signal:
    n = patch.n_samples(0.08, 0.5)
    hz, t60 = patch.ratio(150, 500), patch.ratio(0.06, 0.4)
    skin = modes(
        n, hz * SKIN_RATIOS[:5] * (1 + 0.01 * patch.knob(-1, 1)), t60 / SKIN_RATIOS[:5], (1, 0.5, 0.3, 0.2, 0.2)
    )
    slap = ring(patch.noise(n), (patch.ratio(900, 2500),), 1.5) * strike(n, 0, patch.ratio(0.01, 0.05))
    return unit(skin) + patch.knob(0.05, 1.2) * unit(slap)


def tabla(patch: Patch) -> Signal:
    """A loaded skin: nearly harmonic modes, and a bass whose pitch the palm bends."""
    n = patch.n_samples(0.15, 0.8)
    hz, t60 = patch.ratio(90, 420), patch.ratio(0.2, 0.9)
    if patch.chance(0.4):
        body: Signal = tone(hz / 2 * pressed(patch, n), n) * strike(n, 0.002, t60)
    else:
        body = modes(
            n, hz * np.array([1, 2.0, 3.01, 4.02, 5.05]), t60 / np.array([1, 1.2, 1.5, 2, 2.5]), (0.6, 1, 0.5, 0.3, 0.2)
        )
    return unit(body) + patch.knob(0.05, 0.5) * band(patch.noise(n), 700, 5000) * strike(n, 0, 0.015)


def pressed(patch: Patch, n_samples: int) -> Signal:
    """What a palm that presses the skin does to its pitch."""
    return 1 + patch.knob(0.1, 0.8) * np.clip(time_s(n_samples) / patch.ratio(0.08, 0.3), 0, 1)


def cowbell(patch: Patch) -> Signal:
    n = patch.n_samples(0.08, 0.6)
    hz, t60 = patch.ratio(450, 950), patch.ratio(0.08, 0.6)
    if patch.chance(0.6):
        body = ring(bank(n, (hz, hz * patch.knob(1.4, 1.55))), (hz * 1.6, hz * 3), 1.5, floor=0.2)
        return finished(patch, body * (strike(n, 0, 0.03) + 0.5 * strike(n, 0.001, t60)))
    ratios = np.array([1, 1.48, 2.31, 3.1, 4.2, 5.4])
    body = modes(n, hz * ratios, t60 / ratios**0.5, (1, 0.9, 0.5, 0.4, 0.3, 0.2))
    return finished(patch, unit(body) + 0.3 * patch.noise(n) * strike(n, 0, 0.008))


def agogo(patch: Patch) -> Signal:
    n = patch.n_samples(0.15, 0.6)
    ratios = np.array([1, 2.7, 4.1, 5.6])
    return modes(n, patch.ratio(600, 1500) * ratios, patch.ratio(0.15, 0.6) / ratios**0.4, (1, 0.5, 0.4, 0.2))


def clave(patch: Patch) -> Signal:
    n = patch.n_samples(0.03, 0.2)
    hz = patch.ratio(1200, 3200)
    return finished(patch, modes(n, (hz, 2.5 * hz), (patch.ratio(0.03, 0.15), 0.03), (1, patch.knob(0, 0.4))))


def woodblock(patch: Patch) -> Signal:
    n = patch.n_samples(0.04, 0.25)
    hz, t60 = patch.ratio(300, 1400), patch.ratio(0.03, 0.15)
    body = modes(n, hz * np.array([1, 1.43, 2.4, 3.6]), t60 * np.array([1, 0.8, 0.5, 0.4]), (1, 0.5, 0.3, 0.2))
    return unit(body) + patch.knob(0, 0.5) * band(patch.noise(n), 800, 6000) * strike(n, 0, 0.008)


def shaker(patch: Patch) -> Signal:
    """Grains thrown against a wall: a burst of many small collisions (Cook 1997)."""
    n = patch.n_samples(0.05, 0.35)
    push = hold(n, patch.knob(0.1, 0.6) * n / RATE_HZ, 0.4 * n / RATE_HZ)
    at = poisson(patch, n, patch.ratio(300, 4000))
    grains = scattered(n, at, patch.touch.random(len(at)), patch.noise(64) * strike(64, 0, 0.004)) * push
    return finished(patch, ring(grains, (patch.ratio(2500, 6500),), patch.ratio(0.7, 3), floor=0.1))


def tambourine(patch: Patch) -> Signal:
    n = patch.n_samples(0.15, 0.6)
    at = poisson(patch, n, patch.ratio(80, 500))
    jingles = np.sort(2800 + 4800 * patch.riff.random(6))
    grain = modes(1600, jingles, np.full(6, 0.06), np.ones(6))
    fall = strike(n, 0.002, patch.ratio(0.15, 0.6))
    return scattered(n, np.append(at, 0), np.append(patch.touch.random(len(at)), 3.0), grain) * fall


def guiro(patch: Patch) -> Signal:
    n = patch.n_samples(0.15, 0.8)
    n_teeth = patch.whole(8, 40)
    at = np.sort((np.arange(n_teeth) / n_teeth) ** patch.knob(0.7, 1.4) * 0.9 * n + patch.touch.normal(0, 20, n_teeth))
    grain = ring(patch.noise(400), (patch.ratio(1800, 4500),), 3) * strike(400, 0, 0.012)
    return scattered(n, at, 0.5 + patch.touch.random(n_teeth), grain)


FAMILIES = {
    "conga": (conga,),
    "tabla": (tabla,),
    "cowbell": (cowbell,),
    "agogo": (agogo,),
    "clave": (clave,),
    "woodblock": (woodblock,),
    "shaker": (shaker,),
    "tambourine": (tambourine,),
    "guiro": (guiro,),
}
