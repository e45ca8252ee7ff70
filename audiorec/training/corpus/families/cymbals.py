"""Hats and cymbals, of circuits, noise and metal."""

import numpy as np

from audiorec.samples.synth import Signal
from audiorec.training.corpus.families.drums import finished
from audiorec.training.corpus.patch import Patch
from audiorec.training.corpus.sounds import band, bank, hold, modes, strike, unit

CIRCUIT_HZ = np.array([205.3, 304.4, 369.6, 522.7, 540.0, 800.0])  # the six oscillators of the TR-808's metal


def hat_circuit(patch: Patch, low_s: float, high_s: float) -> Signal:
    t60 = patch.ratio(low_s, high_s)
    n = patch.samples(1.1 * t60)
    metal = bank(n, CIRCUIT_HZ * patch.ratio(3, 9)) + patch.knob(0, 4) * patch.noise(n)
    metal = band(metal, patch.ratio(3000, 6500), order=3)
    return finished(patch, metal * strike(n, 0.0005, t60))


def hat_noise(patch: Patch, low_s: float, high_s: float) -> Signal:
    t60 = patch.ratio(low_s, high_s)
    n = patch.samples(1.1 * t60)
    hiss = band(patch.noise(n), patch.ratio(2500, 6500), patch.ratio(6500, 9000), order=patch.whole(1, 4))
    return finished(patch, hiss * strike(n, 0.0005, t60))


def hat_metal(patch: Patch, low_s: float, high_s: float) -> Signal:
    t60 = patch.ratio(low_s, high_s)
    n = patch.samples(1.1 * t60)
    n_modes = 24
    hz = np.sort(2500 + 5400 * patch.riff.random(n_modes)) * patch.ratio(0.8, 1.15)
    ringing = modes(n, hz, t60 * (0.4 + 0.6 * patch.riff.random(n_modes)), 0.3 + patch.riff.random(n_modes))
    hiss = band(patch.noise(n), 4000) * strike(n, 0, 0.5 * t60)
    return finished(patch, unit(ringing) + patch.knob(0.2, 1) * unit(hiss) * strike(n, 0.0005, t60))


def hat_closed(patch: Patch) -> Signal:
    return patch.pick((hat_circuit, hat_noise, hat_metal))(patch, 0.03, 0.15)


def hat_open(patch: Patch) -> Signal:
    return patch.pick((hat_circuit, hat_noise, hat_metal))(patch, 0.25, 1.0)


def hat_pedal(patch: Patch) -> Signal:
    """The foot closes the cymbals: a swish that ends in a chick."""
    n = patch.n_samples(0.08, 0.25)
    hiss = band(patch.noise(n), 3500, order=3)
    return hiss * (0.4 * strike(n, 0.02, 0.08) + strike(n, 0.001, 0.03))


def cymbal(patch: Patch) -> Signal:
    t60 = patch.ratio(0.8, 3.0)
    n = patch.samples(t60)
    hiss = band(patch.noise(n), patch.ratio(600, 3500), order=2)
    wash = unit(hiss) * (strike(n, 0.002, t60, 0.1) + patch.knob(0, 1) * strike(n, 0, 0.08))
    metal = band(bank(n, CIRCUIT_HZ * patch.ratio(1.5, 5)), 2000, order=2)
    return finished(patch, wash + patch.knob(0, 0.8) * unit(metal) * strike(n, 0.001, 0.6 * t60, 0.1))


def cymbal_metal(patch: Patch) -> Signal:
    """A plate: dozens of modes, the high ones a little later and sooner gone than the low ones."""
    t60 = patch.ratio(0.5, 2.5)
    n = patch.samples(t60)
    hz = patch.ratio(250, 900) * np.cumsum(0.15 + 0.7 * patch.riff.random(40)) ** patch.knob(0.9, 1.1)
    falls = t60 * (0.4 + 0.8 * patch.riff.random(40)) * (1000 / (1000 + hz)) ** patch.knob(0, 0.4)
    plate = modes(n, hz, falls, 0.2 + patch.riff.random(40))
    wash = unit(band(patch.noise(n), patch.ratio(1500, 4000))) * strike(n, 0.004, 0.7 * t60, 0.1)
    return finished(patch, unit(plate) * hold(n, 0.0005, 0.1) + patch.knob(0.2, 1.2) * wash)


def cymbal_reverse(patch: Patch) -> Signal:
    return cymbal(patch)[::-1]


def ride(patch: Patch) -> Signal:
    t60 = patch.ratio(0.6, 2.5)
    n = patch.samples(t60)
    n_modes = 20
    hz = patch.ratio(350, 700) * np.cumsum(0.3 + patch.riff.random(n_modes))
    ping = modes(n, hz, t60 * (0.3 + 0.7 * patch.riff.random(n_modes)), 0.2 + patch.riff.random(n_modes))
    wash = band(patch.noise(n), patch.ratio(2500, 5000)) * strike(n, 0.003, t60, 0.1)
    stick = band(patch.noise(n), 3000) * strike(n, 0, 0.01)
    return finished(patch, unit(ping) * strike(n, 0, 10, 0.1) + patch.knob(0.1, 0.7) * unit(wash) + 0.4 * stick)


def triangle(patch: Patch) -> Signal:
    t60 = patch.ratio(0.15, 2.5)
    n = patch.samples(t60)
    hz = patch.ratio(1000, 2200) * np.array([1, 1.97, 2.93, 3.4, 4.1, 4.9])
    return modes(n, hz, t60 * np.array([0.6, 1, 0.9, 0.8, 0.7, 0.6]), (0.4, 1, 0.8, 0.7, 0.6, 0.5)) * hold(
        n, 0.0005, 0.05
    )


FAMILIES = {
    "closed hat": (
        hat_closed,
        hat_closed,
        hat_closed,
        hat_pedal,
    ),
    "open hat": (hat_open,),
    "crash": (
        cymbal,
        cymbal_metal,
    ),
    "reverse cymbal": (cymbal_reverse,),
    "ride": (ride,),
    "triangle": (triangle,),
}
