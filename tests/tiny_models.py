"""Models of the real classes, so small that they cost nothing, written as their authors' are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import audiorec.torchaudio_cpu  # noqa: F401 - before transformers

SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
WAVE: dict[str, Any] = {
    **SIZE,
    "conv_dim": (16, 16, 16),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 8, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 3,
}


def save_wave(directory: Path, kind: str, *, preprocessor: dict[str, Any] | None = None, **changes: Any) -> Path:
    """kind: "wav2vec2", "hubert", "wavlm" or "data2vec". preprocessor: what it says otherwise than usual."""
    import transformers

    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec": "Data2VecAudio"}[kind]
    config = getattr(transformers, f"{name}Config")(**{**WAVE, **changes})
    return _save(getattr(transformers, f"{name}Model"), config, directory, preprocessor)


def save_ast(directory: Path, *, preprocessor: dict[str, Any] | None = None, **changes: Any) -> Path:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    config = ASTConfig(**{**SIZE, "num_mel_bins": 32, "max_length": 1024, "time_stride": 16, **changes})
    saved = _save(ASTModel, config, directory, None)
    bins_and_frames = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
    ASTFeatureExtractor(**{**bins_and_frames, **(preprocessor or {})}).save_pretrained(saved)
    return saved


def _save(kind: Callable[[Any], Any], config: Any, directory: Path, preprocessor: dict[str, Any] | None) -> Path:
    from transformers import Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # as they are made, the layers do almost nothing
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(**(preprocessor or {})).save_pretrained(directory)
    return directory


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
