"""The log-mel front end: torchaudio's transform inside the encoder's graph."""

import torch
from torch import Tensor, nn

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.torchaudio_cpu import torchaudio

N_MELS = 80
N_FFT = 1024  # 64 ms
HOP_SAMPLES = 512  # 32 ms
LOG_FLOOR = 1e-6  # about -60 dB under a full-scale tone's energy in a band: quieter than that is noise of quantisation


class LogMel(nn.Module):
    """Waveform to log-mel spectrogram, natural logarithm of power (Stevens, Volkmann & Newman 1937 for the scale)."""

    def __init__(self, n_mels: int = N_MELS, n_fft: int = N_FFT, hop_samples: int = HOP_SAMPLES) -> None:
        super().__init__()
        self.log_floor = LOG_FLOOR
        self.n_fft = n_fft
        self.hop_samples = hop_samples
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE_HZ, n_fft=n_fft, hop_length=hop_samples, n_mels=n_mels
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform: (N, 1, T) float32 in [-1, 1]. Returns (N, n_mels, 1 + T // hop_samples) float32."""
        log_mel: Tensor = torch.log(self.mel.mel_scale(self.power(waveform.squeeze(1))) + self.log_floor)
        return log_mel

    def power(self, waveform: Tensor) -> Tensor:
        """(N, T) -> (N, n_fft // 2 + 1, n_frames): what `self.mel.spectrogram` computes, but without square roots that
        are squared again, which are half of its time.
        """
        spectrum = torch.stft(
            waveform, self.n_fft, self.hop_samples, window=self.mel.spectrogram.window, return_complex=True
        )
        return spectrum.real.square() + spectrum.imag.square()
