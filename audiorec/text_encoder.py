"""The text tower of a release: texts in, unit vectors of the encoder's space out. Needs torch and tokenizers alone."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from audiorec.errors import BadModelDir, BadQuery
from audiorec.text import BATCH_TEXTS, TEXT_ENCODER_FILE, TOKENIZER_FILE

Array = npt.NDArray[np.float32]
Tokens = Sequence[int]


class LoadedTextEncoder:
    """The files `text_encoder.pt` and `tokenizer.json` of a release, as `encoders.text_tower` writes them."""

    def __init__(self, directory: Path, *, dim: int, max_tokens: int) -> None:
        """dim: of its vectors. max_tokens: of a text, the special ones at its ends counted. Raises BadModelDir."""
        self.dim = dim
        self.max_tokens = max_tokens
        self._tokenizer = _read_tokenizer(directory / TOKENIZER_FILE)
        self._pad_id = int((self._tokenizer.padding or {}).get("pad_id", 0))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                path = str(directory / TEXT_ENCODER_FILE)
                self._module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
            self._check()
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            reason = str(error).replace(str(directory), "").strip().splitlines()[-1:] or [type(error).__name__]
            raise BadModelDir(
                f"got a file {TEXT_ENCODER_FILE} that TorchScript cannot run ({reason[0][:200]}), "
                "expected one written by audiorec: copy the release again, or build it again"
            ) from None

    def _check(self) -> None:
        last_token = max(self._tokenizer.get_vocab().values(), default=0)  # the tower may be for another tokenizer
        vectors = self.encode_tokens([self.tokens("a sound"), [last_token]])
        norms = np.linalg.norm(vectors, axis=-1)
        if vectors.dtype != np.float32 or norms.shape != (2,) or not np.allclose(norms, 1, atol=1e-3):
            raise ValueError(f"got {vectors.dtype} {vectors.shape} of norm {norms.max():g} from 2 texts")
        if vectors.shape[1] != self.dim:
            raise ValueError(f"it has {vectors.shape[1]} dimensions, the manifest says {self.dim}")

    def encode(self, texts: Sequence[str]) -> Array:
        """Texts as `text.clean_text` leaves them to (N, dim) float32, unit norm. Raises BadQuery."""
        tokens = [self.tokens(text) for text in texts]
        batches = [self.encode_tokens(tokens[i : i + BATCH_TEXTS]) for i in range(0, len(tokens), BATCH_TEXTS)]
        return np.concatenate([np.empty((0, self.dim), np.float32), *batches])

    def tokens(self, text: str) -> Tokens:
        """The numbers of a text's tokens. Raises BadQuery for more of them than the tower takes."""
        tokens = self._tokenizer.encode(text).ids
        if len(tokens) > self.max_tokens:
            raise BadQuery(
                f"got a text of {len(tokens)} tokens, expected at most {self.max_tokens}, which is what this release's "
                "text encoder reads: say it in fewer words"
            )
        return tokens

    def encode_tokens(self, tokens: Sequence[Tokens]) -> Array:
        """N texts' tokens to (N, dim) float32, unit norm. The shorter are filled up and the filling is masked."""
        shape = len(tokens), max(map(len, tokens))
        ids, mask = np.full(shape, self._pad_id, np.int64), np.zeros(shape, np.int64)
        for row, of_text in enumerate(tokens):
            ids[row, : len(of_text)] = of_text
            mask[row, : len(of_text)] = 1
        with torch.inference_mode():
            return cast(Array, self._module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy())


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadModelDir(
            f"got a file {path.name} that is no tokenizer ({(reason or type(error).__name__)[:200]}), "
            "expected one written by audiorec: copy the release again, or build it again"
        ) from None
