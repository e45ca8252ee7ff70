"""Physical constants of sound, and the recipe from decoded blocks to a clip and from a clip to windows.

Every door into audiorec (convert, upload, command line, evaluation) goes through `to_clip` and `windows`, so that
the same file gives the same vector everywhere. A clip is canonical PCM: mono, 16 kHz, peak-normalised, int16.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

from audiorec.errors import BadAudio

Pcm = npt.NDArray[np.int16]
Waveform = npt.NDArray[np.float32]

RECIPE_VERSION = 1  # raise it when bytes -> PCM changes: what was converted by another recipe is converted again

SAMPLE_RATE_HZ = 16_000
CLIP_SAMPLES = 2**17  # a window: the input length of an encoder
CLIP_S = CLIP_SAMPLES / SAMPLE_RATE_HZ  # exactly 8.192

FULL_SCALE = 2**15 - 1  # the int16 value that stands for 1.0
LOUDEST = 2.0**32  # floats on an integer scale are sound; what is beyond it would overflow when added up
SILENCE_PEAK = 10 ** (-80 / 20)  # -80 dBFS in the source: three steps of 16 bit, below any recording
SILENT_WINDOW_PEAK = 10 ** (-60 / 20)  # -60 dB under the clip's own peak: a pause, it tells nothing
CANCELLED_RATIO = 1e-2  # a mix this much quieter than its channels has cancelled itself out
MIN_CLIP_SAMPLES = SAMPLE_RATE_HZ // 200  # 5 ms
MIN_SOURCE_RATE_HZ, MAX_SOURCE_RATE_HZ = 1_000, 1_000_000


def to_clip(blocks: Iterable[Waveform], sample_rate_hz: int, *, max_s: float) -> Pcm:
    """Mixes down, resamples (soxr HQ), removes the offset, normalises the peak to 1.0, and only then quantises.

    blocks: consecutive (n_samples, n_channels) float32 in about [-1, 1], read only as far as `max_s` allows.
    Returns (n_samples,) int16. Raises BadAudio with the reason as its code.
    """
    if not MIN_SOURCE_RATE_HZ <= sample_rate_hz <= MAX_SOURCE_RATE_HZ:
        raise BadAudio(
            f"got a sample rate of {sample_rate_hz} Hz, expected {MIN_SOURCE_RATE_HZ} to {MAX_SOURCE_RATE_HZ} Hz: "
            "the header is wrong, write the file again",
            code="bad_sample_rate",
        )
    meter = _Meter()
    resampled = _resampled(meter.mixed(blocks), sample_rate_hz)
    mono = np.concatenate([*_limited(resampled, max_s), np.empty(0, np.float32)])
    if meter.n_samples == 0:
        raise BadAudio("got a file without a single sample, expected sound", code="no_samples")
    if len(mono) < MIN_CLIP_SAMPLES:
        raise BadAudio(
            f"got {len(mono)} samples at 16 kHz, expected at least {MIN_CLIP_SAMPLES} (5 ms): too short to compare",
            code="too_short",
        )
    mono -= mono.mean(dtype=np.float64).astype(np.float32)
    peak = float(np.abs(mono).max())
    _check_loudness(peak, meter)
    mono *= FULL_SCALE / peak
    pcm: Pcm = np.rint(mono, out=mono).astype(np.int16)
    if np.abs(pcm[: _n_kept(len(pcm))]).max() < SILENT_WINDOW_PEAK * FULL_SCALE:
        raise BadAudio("got a clip whose windows are all silent, expected sound before its last seconds", code="silent")
    return pcm


class _Meter:
    """Watches the blocks that pass on their way to one channel: how many samples, how loud, all finite."""

    def __init__(self) -> None:
        self.n_samples = 0
        self.low, self.high = np.inf, -np.inf  # of any channel

    @property
    def swing(self) -> float:
        """Half the distance from the lowest to the highest sample: the loudness without a constant offset."""
        return (self.high - self.low) / 2 if self.n_samples else 0.0

    def mixed(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """Yields (n_samples,) float32, the mean of the channels."""
        for block in blocks:
            if not len(block):
                continue
            low, high = float(block.min()), float(block.max())  # NaN survives both
            if not (low > -LOUDEST and high < LOUDEST):
                raise BadAudio(
                    f"got samples from {low:.3g} to {high:.3g}, expected finite numbers of about -1 to 1: "
                    "write the file again",
                    code="not_finite",
                )
            self.n_samples += len(block)
            self.low, self.high = min(self.low, low), max(self.high, high)
            n_channels = block.shape[1]
            # a product with equal weights is the mean, and takes a fifteenth of the time of numpy's
            yield block[:, 0] if n_channels == 1 else block @ np.full(n_channels, 1 / n_channels, np.float32)


def _resampled(mono: Iterable[Waveform], sample_rate_hz: int) -> Iterator[Waveform]:
    """Yields blocks at 16 kHz."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        yield from mono
        return
    stream = soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    for block in mono:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _limited(mono: Iterable[Waveform], max_s: float) -> Iterator[Waveform]:
    """Passes blocks at 16 kHz on, and refuses a clip as soon as it has given more than `max_s` of them."""
    n_left = int(max_s * SAMPLE_RATE_HZ)
    for block in mono:
        n_left -= len(block)
        if n_left < 0:
            raise too_long(max_s)
        yield block


def too_long(max_s: float, got_s: float | None = None) -> BadAudio:
    got = "more" if got_s is None else f"{got_s:.1f} s"
    return BadAudio(
        f"got {got}, expected at most {max_s:g} s of sound: cut the clip, or raise the limit", code="too_long"
    )


def _check_loudness(peak: float, meter: _Meter) -> None:
    if peak >= SILENCE_PEAK and peak >= CANCELLED_RATIO * meter.swing:
        return
    if meter.swing >= SILENCE_PEAK:
        raise BadAudio(
            f"got channels that cancel out when mixed (peak {meter.swing:.2g} before, {peak:.2g} after): "
            "give one of them alone",
            code="cancelled_out",
        )
    if max(abs(meter.low), abs(meter.high)) >= SILENCE_PEAK:
        raise BadAudio("got a constant offset and nothing else, expected sound", code="offset_only")
    raise BadAudio(f"got silence (peak {peak:.2g} of 1), expected sound above -80 dB", code="silent")


def windows(pcm: Pcm) -> Waveform:
    """Cuts a clip into the windows that an encoder takes.

    A short clip repeats to fill one; a long one gives consecutive windows, the last kept when it is at least half
    full, and filled by repeating itself. Returns (n_windows, CLIP_SAMPLES) float32 in [-1, 1], n_windows >= 1.
    """
    n_windows = count_windows(len(pcm))
    cut = np.empty((n_windows, CLIP_SAMPLES), np.float32)
    for i, window in enumerate(cut):
        part = pcm[i * CLIP_SAMPLES : (i + 1) * CLIP_SAMPLES]
        window[:] = np.resize(part, CLIP_SAMPLES)  # np.resize repeats
    cut /= FULL_SCALE
    return cut


def count_windows(n_samples: int) -> int:
    """Of a clip, at least 1."""
    return max(1, (n_samples + CLIP_SAMPLES // 2) // CLIP_SAMPLES)


def _n_kept(n_samples: int) -> int:
    """How many of a clip's samples are in its windows: a rest of less than half a window is not."""
    return min(n_samples, count_windows(n_samples) * CLIP_SAMPLES)


def sounding(cut: Waveform) -> npt.NDArray[np.bool_]:
    """Which windows are not silent. cut: (n_windows, CLIP_SAMPLES); returns (n_windows,) bool."""
    peaks: Waveform = np.maximum(cut.max(axis=1), -cut.min(axis=1))
    return peaks >= SILENT_WINDOW_PEAK
