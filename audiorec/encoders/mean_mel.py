"""MeanMel: the log-mel spectrogram's mean and deviation over time, standardised on the catalogue. A baseline."""

from torch import Tensor

from audiorec.audio.mel import N_MELS, LogMel
from audiorec.encoders.base import StandardisedEncoder, mean_and_deviation


class MeanMel(StandardisedEncoder):
    name = "MeanMel"

    def __init__(self) -> None:
        super().__init__(dim=2 * N_MELS)
        self.log_mel = LogMel()

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, 80, n_frames)."""
        return self.log_mel(waveform)

    def core(self, x: Tensor) -> Tensor:
        """(N, 80, n_frames) -> (N, 160)."""
        return mean_and_deviation(x)
