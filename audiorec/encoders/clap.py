"""CLAP, whose space sounds and texts share: Wu et al., "Large-scale contrastive language-audio pretraining", 2023.

Its last step is none, on purpose. The loss that made the space compares a text with a sound by their cosine. Centring
or whitening on the catalogue's sounds would turn and scale what the text tower's vectors are compared with, by
statistics that they do not have: texts lie apart from sounds in such spaces (Liang et al., "Mind the gap", 2022). The
same step for both would keep them comparable, and still weigh directions by what varies between the sounds of one
catalogue, not by what texts say. So both towers' vectors are left as they come.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from audiorec.audio import CLIP_SAMPLES, SAMPLE_RATE_HZ
from audiorec.encoders.model_dir import be_quiet, load_model, read_config, read_preprocessor
from audiorec.encoders.pretrained_model import PretrainedEncoder, resampler, scripted_around
from audiorec.encoders.text_tower import TextTower, read_tokenizer
from audiorec.errors import BadModel

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor, ClapModel

PREPROCESSOR = "ClapFeatureExtractor"
MEL_FLOOR = 1e-10  # of its log-mel: -100 dB
N_COPIES = 4  # of a sound's mel that a fused model takes: whole, and three crops of one that is longer than it hears


class ClapFront(nn.Module):
    """What transformers' ClapFeatureExtractor does to one window: mel in decibels of the sound, filled up at its end.

    A model hears 10 s, a window is 8.192 s: there is nothing to cut, so nothing is chosen at random.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, extractor: "ClapFeatureExtractor") -> None:
        super().__init__()
        self.resample = resampler(extractor.sampling_rate)
        n_samples = CLIP_SAMPLES * extractor.sampling_rate // SAMPLE_RATE_HZ
        self.n_samples: int = extractor.nb_max_samples
        n_whole = self.n_samples // n_samples
        self.n_repeats: int = {"repeatpad": n_whole, "repeat": n_whole + 1}.get(extractor.padding, 1)
        self.n_fft: int = extractor.fft_window_size
        self.hop_samples: int = extractor.hop_length
        self.is_fused = extractor.truncation == "fusion"
        self.n_copies = N_COPIES if self.is_fused else 1
        self.mel_floor = MEL_FLOOR
        filters = extractor.mel_filters if self.is_fused else extractor.mel_filters_slaney
        self.register_buffer("filters", torch.from_numpy(filters).float())  # (n_fft / 2 + 1, n_mels)
        self.register_buffer("window", torch.hann_window(self.n_fft))
        self.identity = f"{extractor.sampling_rate} Hz, {self.n_samples}, {self.hop_samples}, {self.n_repeats}"

    def forward(self, waveform: Tensor) -> Tensor:
        """(N, 1, T) float32 in [-1, 1] -> (N, n_copies, n_frames, n_mels)."""
        x = self.resample(waveform[:, 0]).repeat(1, self.n_repeats)[:, : self.n_samples]
        x = F.pad(x, (0, self.n_samples - x.shape[1]))
        spectrum = torch.stft(x, self.n_fft, self.hop_samples, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # (N, n_fft / 2 + 1, n_frames)
        mel = torch.matmul(power.transpose(1, 2), self.filters).clamp(min=self.mel_floor)
        return (10 * torch.log10(mel)).unsqueeze(1).expand(-1, self.n_copies, -1, -1)


class AudioTower(nn.Module):
    def __init__(self, model: "ClapModel") -> None:
        super().__init__()
        self.model = model.audio_model
        self.projection = model.audio_projection

    def forward(self, mel: Tensor) -> Tensor:
        """(N, n_copies, n_frames, n_mels) -> (N, dim).

        A fused model is told to fuse, as the extractor tells it of every sound that comes alone.
        """
        is_longer = mel.new_ones((mel.shape[0], 1))
        output: Tensor = self.projection(self.model(input_features=mel, is_longer=is_longer).pooler_output)
        return output


class TextModule(nn.Module):
    """See `TextTower.module`."""

    def __init__(self, model: "ClapModel") -> None:
        super().__init__()
        self.model = model.text_model
        self.projection = model.text_projection

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        pooled = self.model(input_ids=ids, attention_mask=mask).pooler_output
        return F.normalize(self.projection(pooled), dim=1)


class CLAP(PretrainedEncoder):
    """(N, 1, CLIP_SAMPLES) to the space that its text tower's vectors are in as well."""

    name = "clap"
    types = ("clap",)
    example = "laion/clap-htsat-unfused"

    def __init__(self, model: "ClapModel", extractor: "ClapFeatureExtractor", text_tower: TextTower) -> None:
        super().__init__()
        self.front = ClapFront(extractor)
        self.audio_tower = AudioTower(model)
        self.text_tower = text_tower
        self.dim = text_tower.dim
        self.identity = f" {self.front.identity}, {text_tower.key()}"

    @classmethod
    def open(cls, directory: Path, layer: int | None = None) -> "CLAP":
        config = read_config(directory, cls.types, cls.what())
        extractor = _extractor(read_preprocessor(directory, (PREPROCESSOR,), cls.what()), directory)
        if (extractor.truncation == "fusion") != config.audio_config.enable_fusion:
            raise BadModel(
                f"got {directory.name} with a preprocessor of truncation '{extractor.truncation}', expected "
                f"'{'fusion' if config.audio_config.enable_fusion else 'rand_trunc'}' for this model: "
                "take the one that was published with it"
            )
        tokenizer, max_tokens = read_tokenizer(directory, config.text_config.vocab_size, cls.what())
        model: Any = load_model(directory, config, cls.what(), attention="eager")  # it has no other
        pad_id = config.text_config.pad_token_id or 0
        max_tokens = min(max_tokens, config.text_config.max_position_embeddings - pad_id - 1)  # positions follow it
        text_tower = TextTower(TextModule(model).eval(), tokenizer, pad_id, max_tokens, config.projection_dim)
        return cls(model, extractor, text_tower)

    @classmethod
    def published(cls, layer: int | None = None) -> "CLAP":
        """Its text tower is a stump: it costs a sound nothing."""
        from tokenizers.models import WordLevel
        from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

        be_quiet()
        config = ClapConfig(text_config={"num_hidden_layers": 1, "vocab_size": 8})
        model = ClapModel(config).eval()  # type: ignore[no-untyped-call]
        text_tower = TextTower(TextModule(model), Tokenizer(WordLevel()), 1, 8, config.projection_dim)
        return cls(model, ClapFeatureExtractor(truncation="rand_trunc"), text_tower)

    def pre(self, waveform: Tensor) -> Tensor:
        """(N, 1, CLIP_SAMPLES) -> (N, n_copies, n_frames, n_mels)."""
        return self.front(waveform)

    def core(self, x: Tensor) -> Tensor:
        """(N, n_copies, n_frames, n_mels) -> (N, dim)."""
        return self.audio_tower(x)

    def post(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1)

    def scripted(self) -> torch.jit.ScriptModule:
        return scripted_around(self, "audio_tower")

    def text_facts(self) -> dict[str, Any] | None:
        return self.text_tower.facts()

    def write_companions(self, directory: Path) -> list[str]:
        return self.text_tower.write(directory)


def _extractor(settings: dict[str, Any], directory: Path) -> "ClapFeatureExtractor":
    """Raises BadModel for settings that are none, or those of a model that hears less than a window at once."""
    from transformers import ClapFeatureExtractor

    try:
        extractor: Any = ClapFeatureExtractor.from_dict(settings)
        heard_s = extractor.nb_max_samples / extractor.sampling_rate
    except Exception as error:  # whatever numbers that are none lead to
        raise BadModel(
            f"got a preprocessor in {directory.name} that cannot be used ({type(error).__name__}), expected that of "
            "a clap model: take it whole"
        ) from None
    if extractor.truncation not in ("fusion", "rand_trunc") or heard_s < CLIP_SAMPLES / SAMPLE_RATE_HZ:
        raise BadModel(
            f"got a preprocessor in {directory.name} of {heard_s:g} s and truncation '{extractor.truncation}', "
            f"expected at least {CLIP_SAMPLES / SAMPLE_RATE_HZ:g} s, and fusion or rand_trunc: take another model"
        )
    return extractor
