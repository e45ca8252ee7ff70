"""AST as a frozen encoder: Gong, Chung & Glass, "AST: Audio Spectrogram Transformer", 2021."""

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ
from audiorec.encoders.frozen import Front, FrozenEncoder, HiddenLayers
from audiorec.encoders.pretrained_model import resampler
from audiorec.torchaudio_cpu import torchaudio

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MEAN, DEVIATION = -4.2677393, 4.5689974  # of AudioSet, where a preprocessor says nothing else
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0


class KaldiFbank(nn.Module):
    """Kaldi's log-mel filter bank of whole frames: 25 ms every 10 ms, each without its offset, Hann window, power.

    `torchaudio.compliance.kaldi.fbank` computes the same, but of one sound, and not in a graph.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, n_mels: int, sample_rate_hz: int) -> None:
        super().__init__()
        self.frame_samples = sample_rate_hz // 40
        self.hop_samples = sample_rate_hz // 100
        self.n_fft = 1 << (self.frame_samples - 1).bit_length()
        self.preemphasis = PREEMPHASIS
        self.floor = torch.finfo(torch.float32).eps
        mel, _ = torchaudio.compliance.kaldi.get_mel_banks(
            n_mels, self.n_fft, float(sample_rate_hz), LOWEST_HZ, 0.0, 100.0, -500.0, 1.0
        )  # (n_mels, n_fft / 2); the three last ones say: no warping
        self.register_buffer("mel", F.pad(mel, (0, 1)).T.contiguous())  # (n_fft / 2 + 1, n_mels)
        self.register_buffer("window", torch.hann_window(self.frame_samples, periodic=False))

    def forward(self, waveform: Tensor) -> Tensor:
        """(N, T) -> (N, n_frames, n_mels)."""
        frames = waveform.unfold(1, self.frame_samples, self.hop_samples)  # (N, n_frames, frame_samples)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
        spectrum = torch.fft.rfft((frames - self.preemphasis * before) * self.window, self.n_fft)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.matmul(power, self.mel).clamp(min=self.floor).log()


class SpectrogramFront(Front):
    """What transformers' ASTFeatureExtractor does: settings are its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        rate_hz = settings.get("sampling_rate", SAMPLE_RATE_HZ)
        self.resample = resampler(rate_hz)
        self.n_mels: int = settings.get("num_mel_bins", 128)
        self.fbank = KaldiFbank(self.n_mels, rate_hz)
        self.n_frames: int = settings.get("max_length", 1024)
        normalises = settings.get("do_normalize", True)
        self.mean: float = settings.get("mean", MEAN) if normalises else 0.0
        self.scale: float = 1 / (2 * settings.get("std", DEVIATION)) if normalises else 1.0
        self.identity = f"{rate_hz} Hz, {self.n_frames} frames, mean {self.mean}, scale {self.scale}"

    def forward(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) float32 in [-1, 1] -> (N, n_frames, n_mels), zeros where the sound has ended, then normalised."""
        frames = self.fbank(self.resample(waveform[:, 0]))[:, : self.n_frames]
        padded = F.pad(frames, (0, 0, 0, self.n_frames - frames.shape[1]))
        return (padded - self.mean) * self.scale


class PatchLayers(HiddenLayers):
    """Pools the patches that have heard sound, over time and frequency; those of the zeros after it tell nothing."""

    def __init__(self, model: "PreTrainedModel", n_heard: int) -> None:
        """n_heard: frames of sound."""
        super().__init__(model)
        config = model.config
        self.n_patches = (config.max_length - config.patch_size) // config.time_stride + 1
        self.n_pooled = min(self.n_patches, max(1, (n_heard - config.patch_size) // config.time_stride + 1))

    def pool(self, hidden: Tensor) -> Tensor:
        """(N, 2 + patches, dim) -> (N, dim). The two are for classes and distillation."""
        n, _, dim = hidden.shape
        patches = hidden[:, 2:].reshape(n, -1, self.n_patches, dim)  # (N, in frequency, in time, dim)
        return patches[:, :, : self.n_pooled].mean(dim=(1, 2))

    def stack(self) -> tuple[nn.Module, str]:
        return cast(nn.Module, self.model), "layernorm"


class AST(FrozenEncoder):
    name = "ast"
    types = ("audio-spectrogram-transformer",)
    example = "MIT/ast-finetuned-audioset-10-10-0.4593"
    preprocessor = "ASTFeatureExtractor"

    @classmethod
    def parts_of(cls, model: "PreTrainedModel", settings: dict[str, Any]) -> tuple[Front, HiddenLayers]:
        front = SpectrogramFront(settings)
        sizes, of_model = (front.n_frames, front.n_mels), (model.config.max_length, model.config.num_mel_bins)
        if sizes != of_model:
            raise ValueError(f"{sizes[0]} frames of {sizes[1]} bands for a model of {of_model[0]} of {of_model[1]}")
        n_heard = front.fbank(front.resample(torch.zeros(1, CLIP_SAMPLES))).shape[1]
        return front, PatchLayers(model, n_heard)
