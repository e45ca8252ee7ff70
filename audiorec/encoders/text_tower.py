"""The text side of an encoder whose space texts share: as a file beside it, and whether it tells texts apart."""

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn

from audiorec.encoders.checkpoint import reason_of
from audiorec.errors import AudiorecError, BadModel
from audiorec.files import replacing
from audiorec.text import TEXT_ENCODER_FILE, TOKENIZER_FILE
from audiorec.text_encoder import LoadedTextEncoder

Array = npt.NDArray[np.float32]

PROMPTS = (
    "jazz",
    "heavy metal",
    "a dog barking",
    "rain on a tin roof",
    "a woman speaking softly",
    "solo classical piano",
    "a car engine starting",
    "glass breaking on a stone floor",
    "the applause of a large crowd",
    "techno with a heavy kick drum",
    "church bells in the distance",
    "birds singing in a forest at dawn",
)
COLLAPSED_COSINE = 0.9  # the mean of all pairs of PROMPTS; published towers that are broken have 0.999
PARITY_TOLERANCE = 1e-4  # in cosine
PARITY_BATCHES = (1, 3, len(PROMPTS))
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))  # what a directory has one of


@dataclass(frozen=True)
class TextTower:
    """module: eager, token ids (N, T) int64 and their mask (N, T) int64 to (N, dim) float32, unit norm.

    tokenizer: from texts to ids, the special ones at their ends included. max_tokens: that the module takes of a text.
    """

    module: nn.Module
    tokenizer: Tokenizer
    pad_id: int
    max_tokens: int
    dim: int

    def write(self, directory: Path) -> list[str]:
        """Writes the two files of a tower, at once or not at all each; returns their names.

        Raises AudiorecError when what was written computes something else, NoSpace.
        """
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.enable_padding(pad_id=self.pad_id)
        with replacing(directory / TOKENIZER_FILE, durable=True) as file:
            file.write(tokenizer.to_str().encode())
        with replacing(directory / TEXT_ENCODER_FILE, durable=True) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.jit, and of the tracer on what does not vary
            torch.jit.save(self._traced(), file)
        loaded = LoadedTextEncoder(directory, dim=self.dim, max_tokens=self.max_tokens)
        distance = max(self._distance(loaded, n) for n in PARITY_BATCHES)
        if not distance <= PARITY_TOLERANCE:
            raise AudiorecError(
                f"got a TorchScript text encoder that differs from eager by {distance:.2g} in cosine, expected at most "
                f"{PARITY_TOLERANCE:g}: this text encoder cannot be exported with this torch",
                code="export_parity",
            )
        return [TEXT_ENCODER_FILE, TOKENIZER_FILE]

    def _traced(self) -> torch.jit.ScriptModule:
        """Scripting fails in the configs of transformers. Two texts, one filled up, so that nothing looks constant."""
        ids = torch.full((2, min(7, self.max_tokens)), 3)
        mask = torch.ones_like(ids)
        ids[1, 3:], mask[1, 3:] = self.pad_id, 0
        with torch.no_grad():
            return torch.jit.trace(self.module, (ids, mask), check_trace=False)  # type: ignore[no-untyped-call]

    def _distance(self, loaded: LoadedTextEncoder, n: int) -> float:
        """The largest cosine distance over n prompts at once, by the file, and each alone, eagerly."""
        return float((1 - (loaded.encode(PROMPTS[:n]) * self.prompt_vectors[:n]).sum(axis=1)).max())

    @cached_property
    def prompt_vectors(self) -> Array:
        """Of PROMPTS: (12, dim)."""
        rows = []
        for prompt in PROMPTS:
            ids = torch.tensor([self.tokenizer.encode(prompt).ids])
            with torch.no_grad():
                rows.append(self.module(ids, torch.ones_like(ids))[0].numpy())
        return np.stack(rows)

    def facts(self) -> dict[str, Any]:
        """What `manifest.TextFacts` is made of."""
        cosines = self.prompt_vectors @ self.prompt_vectors.T
        mean = float(cosines[np.triu_indices(len(PROMPTS), k=1)].mean())
        return {
            "dim": self.dim,
            "params": sum(parameter.numel() for parameter in self.module.parameters()),
            "max_tokens": self.max_tokens,
            "prompt_cosine": round(mean, 4),
            "is_collapsed": not mean < COLLAPSED_COSINE,
        }

    def key(self) -> str:
        """Equal for two towers that compute the same."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return f"text-{digest.hexdigest()[:16]}"


def read_tokenizer(directory: Path, vocab_size: int, what: str) -> tuple[Tokenizer, int]:
    """(the tokenizer of a model's directory, how many tokens of a text it says the model takes).

    vocab_size: for how many the model has vectors. what: "a clap model", for messages. Raises BadModel.
    """
    from transformers import AutoTokenizer

    if not any(all((directory / name).is_file() for name in names) for names in TOKENIZERS):
        raise BadModel(
            f"got {directory.name} without a tokenizer, expected {what} with a tokenizer.json, or a vocab.json and a "
            "merges.txt: copy them too, from where the model was published"
        )
    try:
        described = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        tokenizer = Tokenizer.from_str(described.backend_tokenizer.to_str())
        tokenizer.no_truncation()  # what is too long is refused, not cut in silence
        tokenizer.no_padding()
    except Exception as error:  # whatever its formats raise
        raise BadModel(
            f"got a tokenizer in {directory.name} that cannot be read ({reason_of(error) or type(error).__name__}), "
            f"expected that of {what}, whole: copy it again"
        ) from None
    n_tokens = 1 + max(tokenizer.get_vocab().values(), default=0)
    if n_tokens > vocab_size:
        raise BadModel(
            f"got a tokenizer of {n_tokens:,} tokens in {directory.name}, expected at most {vocab_size:,}, for which "
            "the model has vectors: it belongs to another model"
        )
    return tokenizer, int(described.model_max_length)
