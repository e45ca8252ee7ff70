"""Where the weights of `base` come from: the file in the package, or a checkpoint of `audiorec train contrastive`.

The file in the package is safetensors: `config` and `facts` (how it was made) as JSON in its metadata, matrices and
kernels in half precision, all else in single; what is computed anew (the mel filters) is not in it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from audiorec.encoders.checkpoint import read_checkpoint, reason_of
from audiorec.encoders.convnet import ConvNetConfig
from audiorec.encoders.pretrained import Base
from audiorec.errors import BadCheckpoint
from audiorec.files import replacing

BASE_PATH = Path(__file__).with_name("base.safetensors")
MAX_HEADER_BYTES = 2**20  # of a safetensors file: more would be somebody else's
CHECKPOINT_KIND = "audiorec-contrast"
IN_CHECKPOINT = "encoder."  # before the names of an encoder's weights
COMPUTED = "log_mel."


def load_base(path: Path = BASE_PATH) -> Base:
    """The encoder of a file as `write_base` writes them, or of a checkpoint. Raises BadCheckpoint."""
    facts: dict[str, Any] = {}
    if path == BASE_PATH or _is_safetensors(path):
        weights, described = _read_safetensors(path)
        config, facts = described.get("config", "{}"), _facts(described)
    else:
        stored = read_contrast(path)
        config, facts = json.dumps(stored.get("config")), stored.get("facts", {})
        of_model: dict[str, Tensor] = stored.get("model", {})
        names = [name for name in of_model if name.startswith(IN_CHECKPOINT)]
        weights = {name.removeprefix(IN_CHECKPOINT): of_model[name] for name in names}
    try:
        encoder = Base(ConvNetConfig.model_validate_json(config))
    except ValidationError as error:
        raise BadCheckpoint(f"got {path.name} without a whole config ({error.title}): take another") from None
    computed = {name: value for name, value in encoder.state_dict().items() if name.startswith(COMPUTED)}
    try:
        encoder.load_state_dict({**weights, **computed})
    except RuntimeError as error:
        raise BadCheckpoint(
            f"got {path.name} whose weights are not of its config ({reason_of(error)}): take another"
        ) from None
    encoder.licence = facts.get("licence", encoder.licence)
    encoder.origin = facts.get("origin", encoder.origin)
    return encoder.eval()


def read_contrast(path: Path) -> dict[str, Any]:
    """A checkpoint of a contrastive training. Raises BadCheckpoint."""
    return read_checkpoint(path, CHECKPOINT_KIND, "audiorec train contrastive")


def write_base(encoder: Base, path: Path, facts: dict[str, Any]) -> None:
    """Writes an encoder at once or not at all. facts: JSON, how it was made. Raises NoSpace."""
    tensors = {
        name: value.detach().to(_stored_type(name, value)).contiguous()
        for name, value in encoder.state_dict().items()
        if not name.startswith(COMPUTED)
    }
    described = {"config": encoder.network.config.model_dump_json(), "facts": json.dumps(facts)}
    with replacing(path, durable=True) as file:
        file.write(save(tensors, described))


def read_facts(path: Path = BASE_PATH) -> dict[str, Any]:
    """How a .safetensors file of ours was made. Raises BadCheckpoint."""
    return _facts(_read_safetensors(path)[1])


def _facts(described: dict[str, str]) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = dict(json.loads(described.get("facts", "{}")))
    except (ValueError, TypeError):
        raise BadCheckpoint("got weights of base whose facts are not JSON, expected them whole: take another") from None
    return facts


def _is_safetensors(path: Path) -> bool:
    """By its first bytes, the size of a header and what it begins with: a copy may have any name."""
    try:
        with path.open("rb") as file:
            first = file.read(9)
    except OSError:
        return False
    return first[8:] == b"{" and int.from_bytes(first[:8], "little") <= MAX_HEADER_BYTES


def _stored_type(name: str, value: Tensor) -> torch.dtype:
    is_kernel = name.startswith("network.") and value.ndim >= 2
    return torch.float16 if is_kernel else value.dtype


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, floating ones in single precision; metadata)."""
    try:
        with safe_open(path, framework="pt") as file:
            read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            described = file.metadata() or {}
    except FileNotFoundError:
        advice = "install audiorec again" if path == BASE_PATH else "name one that is there"
        raise BadCheckpoint(f"got no file {path.name}, expected the weights of base: {advice}") from None
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"got a file {path.name} that is no whole safetensors file ({reason_of(error)}): take another"
        ) from None
    return {name: value.float() if value.is_floating_point() else value for name, value in read.items()}, described
