"""A CLAP of the real classes with next to no weights, and a tokenizer for it, written as their authors' are."""

from pathlib import Path
from typing import Any

import torch

import audiorec.torchaudio_cpu  # noqa: F401 - before transformers

DIM = 24
MAX_TOKENS = 64
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MERGES = [("r", "a"), ("i", "n"), ("ra", "in"), ("Ġ", "t"), ("o", "n"), ("Ġ", "a"), ("d", "o"), ("do", "g")]


def save_clap(
    directory: Path, *, seed: int = 0, collapsed: bool = False, fused: bool = False, **extractor: Any
) -> Path:
    """Shaped as laion/clap-htsat-unfused is, or -fused. collapsed: its text tower tells no text from another."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    text = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"intermediate_size": 64, "max_position_embeddings": MAX_TOKENS + 2}
    audio = {"depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 4, 8], "patch_embeds_hidden_size": 8}
    audio |= {"hidden_size": 64, "enable_fusion": fused, "aff_block_r": 2}
    torch.manual_seed(seed)
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=DIM)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # as they are made, the layers do almost nothing
            parameter.add_(0.1 * torch.randn(parameter.shape))
        if collapsed:
            model.text_model.embeddings.LayerNorm.weight.zero_()
        else:
            _spread(model)
    settings = {"truncation": "fusion" if fused else "rand_trunc", "padding": "repeatpad", **extractor}
    model.save_pretrained(directory)
    ClapProcessor(ClapFeatureExtractor(**settings), tokenizer()).save_pretrained(directory)
    ClapFeatureExtractor(**settings).save_pretrained(directory)  # hubs have it in a file of its own
    return directory


def _spread(model: Any) -> None:
    """Takes from all texts what they have in common."""
    tokens = (torch.tensor([tokenizer()(text)["input_ids"]]) for text in ("jazz", "a dog", "rain on a tin roof", "x"))
    vectors = [model.text_projection(model.text_model(input_ids=ids).pooler_output) for ids in tokens]
    model.text_projection.linear2.bias.sub_(torch.cat(vectors).mean(dim=0))


def tokenizer() -> Any:
    """Byte-level BPE, as RoBERTa's: every text has tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    words = [*SPECIAL_TOKENS, *sorted(ByteLevel.alphabet()), *(left + right for left, right in MERGES)]
    return RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=MERGES)
