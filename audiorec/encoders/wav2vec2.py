"""Frozen encoders of the wav2vec2 family, which hears the waveform itself.

Baevski, Zhou, Mohamed & Auli, "wav2vec 2.0", 2020; Hsu et al., "HuBERT", 2021; Chen et al., "WavLM", 2022; Baevski et
al., "data2vec", 2022.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ
from audiorec.encoders.frozen import Front, FrozenEncoder, HiddenLayers
from audiorec.encoders.pretrained_model import resampler

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREPROCESSOR = "Wav2Vec2FeatureExtractor"
VARIANCE_FLOOR = 1e-7  # of that


class WaveFront(Front):
    """What transformers' Wav2Vec2FeatureExtractor does. normalises: to mean 0 and variance 1, window by window."""

    def __init__(self, sample_rate_hz: int, normalises: bool) -> None:
        super().__init__()
        self.resample = resampler(sample_rate_hz)
        self.normalises = normalises
        self.floor = VARIANCE_FLOOR
        self.identity = f"{sample_rate_hz} Hz, normalises {normalises}"

    def forward(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) float32 in [-1, 1] -> (N, T at the model's rate)."""
        x = self.resample(waveform[:, 0])
        if self.normalises:
            variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
            x = (x - mean) / torch.sqrt(variance + self.floor)
        return x


class WaveEncoder(FrozenEncoder):
    preprocessor = PREPROCESSOR

    @classmethod
    def parts_of(cls, model: "PreTrainedModel", settings: dict[str, Any]) -> tuple[Front, HiddenLayers]:
        front = WaveFront(settings.get("sampling_rate", SAMPLE_RATE_HZ), settings.get("do_normalize", True))
        return front, HiddenLayers(model)


class Wav2Vec2(WaveEncoder):
    name = "wav2vec2"
    types = ("wav2vec2",)
    example = "facebook/wav2vec2-base"


class HuBERT(WaveEncoder):
    name = "hubert"
    types = ("hubert",)
    example = "facebook/hubert-base-ls960"


class WavLM(WaveEncoder):
    name = "wavlm"
    types = ("wavlm",)
    example = "microsoft/wavlm-base"
    attention = "eager"  # it has no other


class Data2Vec(WaveEncoder):
    name = "data2vec"
    types = ("data2vec-audio",)
    example = "facebook/data2vec-audio-base"
