"""Adapters: what a generator learnt from a catalogue, a small file that is put onto its UNet and taken off again.

NAME.safetensors    for each linear layer M that it changes, M.lora_A (rank, n_in) and M.lora_B (n_out, rank) float32:
                    the layer computes W x + B A x (Hu et al., "LoRA", ICLR 2022, eq. 3, with alpha = rank);
                    `probe`, some weights of the UNet it was made for; as metadata the facts, and a hash of the tensors
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from audiorec.errors import BadModel
from audiorec.files import replacing

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
NAME = re.compile(r"\w[\w.-]{0,63}")
PROBED_WEIGHTS, PROBED_VALUES = 64, 8  # of so many weights, so many values
PROBE_TOLERANCE = 2.0**-7  # a UNet in bfloat16 or float16 is the same UNet

_PROBE = "probe"
_A, _B = ".lora_A", ".lora_B"
_FACTS, _SHA256 = "audiorec-adapter", "sha256"


class AdapterFacts(BaseModel):
    """kind: the class of the pipeline. base: the name of the model it was made for, never a path of a machine.

    licence: of the base, which what is made of it inherits. figures: what was measured when it was made.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    format_version: int = FORMAT_VERSION
    kind: str
    base: str
    licence: str = ""
    rank: int = Field(ge=1)
    caption: str = ""  # the template of the captions it learnt from
    n_clips: int = Field(0, ge=0)
    n_steps: int = Field(0, ge=0)
    figures: dict[str, float] = {}


def linear_layers(unet: torch.nn.Module) -> list[str]:
    """The names of the layers that an adapter changes: attention, feed-forward, and where time and text come in."""
    return [name for name, module in unet.named_modules() if isinstance(module, torch.nn.Linear)]


def attach(pipe: Any, layers: Iterable[str], rank: int) -> Any:
    """Makes pipe.unet a `peft.PeftModel` that computes what it did before, until its weights change. Returns it."""
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=sorted(layers), lora_dropout=0.0, bias="none")
    with torch.random.fork_rng(devices=[]):  # a sound without a seed is not to depend on who loaded an adapter
        pipe.unet = peft.get_peft_model(pipe.unet, config)
    return pipe.unet


def adapter_weights(unet: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters of the adapter on a UNet, by their names in a file; none where there is none."""
    weights = {}
    for name, parameter in unet.named_parameters():
        for part in (_A, _B):
            layer, found, _ = name.removeprefix("base_model.model.").partition(f"{part}.")
            if found:
                weights[layer + part] = parameter
    return weights


def unload_adapter(pipe: Any) -> None:
    """Takes the adapter off, if there is one: pipe.unet is what it was, and so are its outputs, to the last bit."""
    if adapter_weights(pipe.unet):
        pipe.unet = pipe.unet.unload()


def save_adapter(pipe: Any, path: Path, facts: AdapterFacts) -> None:
    """Writes the adapter that is on pipe.unet, at once or not at all. Raises NoSpace."""
    from safetensors.torch import save

    tensors = {name: weight.detach().float().cpu().contiguous() for name, weight in adapter_weights(pipe.unet).items()}
    tensors[_PROBE] = probe(pipe.unet)
    described = json.dumps({**facts.model_dump(), _SHA256: _hash(tensors)})
    content = save(tensors, {_FACTS: described})  # one entry: several would stand in another order each time
    with replacing(path, durable=True) as file:
        file.write(content)


def load_adapter(pipe: Any, path: Path) -> AdapterFacts:
    """Puts an adapter onto pipe.unet, in the place of one that is there.

    Raises BadModel, pipe left without an adapter, for a file that is missing, damaged, no adapter, or one that was
    made for another base.
    """
    unload_adapter(pipe)
    facts, tensors = _read(path)
    name = path.stem
    kind = type(pipe).__name__
    probed = tensors.pop(_PROBE)
    if facts.kind != kind:
        raise BadModel(
            f"got the adapter {name} for a {facts.kind} ({facts.base}), expected one for this {kind}: "
            "use it with the model it was made for"
        )
    if not _same_base(probed, probe(pipe.unet)) or not _fits(tensors, pipe.unet, facts.rank):
        raise BadModel(
            f"got the adapter {name}, which was made for {facts.base}, expected one of the model that is loaded: "
            "use it with that, or train one on this"
        )
    attach(pipe, {layer.removesuffix(_A) for layer in tensors if layer.endswith(_A)}, facts.rank)
    with torch.no_grad():
        for layer, weight in adapter_weights(pipe.unet).items():
            weight.copy_(tensors[layer])
    return facts


def list_adapters(directory: Path | None) -> dict[str, Path]:
    """The adapters in a folder, by name; what is none is passed over. Their weights are not read."""
    if directory is None or not directory.is_dir():
        return {}
    return {path.stem: path for path in sorted(directory.glob(f"*{SUFFIX}")) if _is_adapter(path)}


def _is_adapter(path: Path) -> bool:
    try:
        read_facts(path)
    except BadModel:
        return False
    return NAME.fullmatch(path.stem) is not None


def read_facts(path: Path) -> AdapterFacts:
    """What a file says of itself; its weights may be damaged all the same. Raises BadModel."""
    with _opened(path) as file:
        return _facts_of(path, _described(path, file))


def probe(unet: torch.nn.Module) -> Tensor:
    """Some of a UNet's own weights, (n,) float32, with or without an adapter on it: two that differ are two UNets."""
    weights = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): weight
        for name, weight in unet.named_parameters()
        if _A not in name and _B not in name
    }
    names = sorted(weights)
    chosen = names[:: -(-len(names) // PROBED_WEIGHTS)]
    return torch.cat([weights[name].detach().flatten()[:PROBED_VALUES].float().cpu() for name in chosen])


def _same_base(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=PROBE_TOLERANCE, atol=1e-6)


def _fits(tensors: Mapping[str, Tensor], unet: torch.nn.Module, rank: int) -> bool:
    """Whether there are both halves for each layer, and each layer is one of the UNet's, of their sizes."""
    layers = {name.removesuffix(_A).removesuffix(_B) for name in tensors}
    modules = dict(unet.named_modules())
    if not layers or tensors.keys() != {layer + half for layer in layers for half in (_A, _B)}:
        return False
    for layer in layers:
        module = modules.get(layer)
        if not isinstance(module, torch.nn.Linear):
            return False
        halves = (tensors[layer + _A].shape, tensors[layer + _B].shape)
        if halves != ((rank, module.in_features), (module.out_features, rank)):
            return False
    return True


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise _broken(path, str(error)) from None


def _read(path: Path) -> tuple[AdapterFacts, dict[str, Tensor]]:
    with _opened(path) as file:
        described = _described(path, file)
        facts = _facts_of(path, described)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _PROBE not in tensors or _hash(tensors) != json.loads(described).get(_SHA256):
        raise _broken(path, "its hash is not the one it was saved with")
    return facts, tensors


def _described(path: Path, file: Any) -> str:
    """What an adapter says of itself, as JSON."""
    described = (file.metadata() or {}).get(_FACTS)
    if described is None:
        raise BadModel(
            f"got {path.name}, which is no adapter of audiorec, expected one: make it by `audiorec train generator`"
        )
    return str(described)


def _facts_of(path: Path, described: str) -> AdapterFacts:
    try:
        facts = AdapterFacts.model_validate_json(described)
    except ValidationError:
        raise _broken(path, "its facts are not whole") from None
    if facts.format_version != FORMAT_VERSION:
        raise BadModel(
            f"got the adapter {path.stem} of format {facts.format_version}, expected {FORMAT_VERSION}: train it again"
        )
    return facts


def _broken(path: Path, why: str) -> BadModel:
    return BadModel(f"got an adapter {path.name} that cannot be read ({why}), expected a whole one: copy it again")


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
