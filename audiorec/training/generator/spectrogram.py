"""The log-mel spectrogram that the latent diffusion models of sound were trained on, made of a waveform.

AudioLDM, AudioLDM2 and MusicLDM share it: that of HiFi-GAN (Kong, Kim & Bae, NeurIPS 2020), amplitudes rather than
powers, in Slaney's mel bands up to half the sample rate. Hop, number of bands and rate are those of the vocoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiorec.torchaudio_cpu import torchaudio

N_FFT = 1024  # at 16 kHz, the rate that all of them have
LOG_FLOOR = 1e-5
PEAK = 0.5  # what a waveform is scaled to
QUIET_PEAK = 0.01  # what is quieter than -40 dB is a pause, and is not made loud


class Spectrogram(nn.Module):
    """(N, n_samples) float32 in [-1, 1] -> (N, 1, n_samples / hop_samples, n_mels) float32, natural logarithms."""

    window: Tensor
    bands: Tensor

    def __init__(self, sample_rate_hz: int, hop_samples: int, n_mels: int) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        bands = torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1, 0.0, sample_rate_hz / 2, n_mels, sample_rate_hz, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("window", torch.hann_window(N_FFT))
        self.register_buffer("bands", bands)  # (n_fft / 2 + 1, n_mels)

    def forward(self, waveform: Tensor) -> Tensor:
        margin = (N_FFT - self.hop_samples) // 2  # so that n samples have n / hop frames
        padded = F.pad(normalised(waveform)[:, None], (margin, margin), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded, N_FFT, self.hop_samples, window=self.window, center=False, return_complex=True
        )  # (N, n_fft / 2 + 1, T)
        mel = spectrum.abs().transpose(1, 2) @ self.bands  # (N, T, n_mels)
        return mel.clamp(min=LOG_FLOOR).log()[:, None]


def normalised(waveform: Tensor) -> Tensor:
    """(N, n_samples), without offset, the peak of each at PEAK."""
    centred = waveform - waveform.mean(dim=1, keepdim=True)
    peak = centred.abs().amax(dim=1, keepdim=True).clamp(min=QUIET_PEAK)
    return centred * (PEAK / peak)
