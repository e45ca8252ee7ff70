"""MFCC: mean and deviation of mel cepstra and of their deltas, standardised on the catalogue. A baseline.

Davis & Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", 1980; as the vector
of a whole clip: Tzanetakis & Cook, "Musical genre classification of audio signals", 2002.
"""

import torch
from torch import Tensor

from audiorec.audio.mel import N_MELS, LogMel
from audiorec.encoders.base import StandardisedEncoder, mean_and_deviation
from audiorec.torchaudio_cpu import torchaudio

N_COEFFICIENTS = 20


class MFCC(StandardisedEncoder):
    name = "MFCC"

    dct: Tensor

    def __init__(self) -> None:
        super().__init__(dim=4 * N_COEFFICIENTS)
        self.log_mel = LogMel()
        dct = torchaudio.functional.create_dct(N_COEFFICIENTS, N_MELS, norm="ortho")  # (80, 20)
        self.register_buffer("dct", dct)

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) -> (N, 20, n_frames)."""
        return torch.matmul(self.log_mel(waveform).transpose(1, 2), self.dct).transpose(1, 2)

    def core(self, x: Tensor) -> Tensor:
        """(N, 20, n_frames) -> (N, 80): of the coefficients, then of their deltas over 5 frames."""
        deltas = torchaudio.functional.compute_deltas(x)
        return torch.cat([mean_and_deviation(x), mean_and_deviation(deltas)], dim=1)
