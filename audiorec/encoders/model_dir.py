"""A directory of a pretrained model, as transformers writes it, opened with every fault of it said in a sentence.

Only what is there is read, no code of it is run, and nothing is fetched.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audiorec.torchaudio_cpu  # noqa: F401 - transformers imports torchaudio, which some builds of torch have to be helped with
from audiorec.encoders.checkpoint import reason_of
from audiorec.errors import BadModel
from audiorec.files import sha256_of
from audiorec.quoting import quoted

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"  # where a processor was saved, it holds the other
WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")
NOT_USED = (  # by anything but training; or computed, not learnt
    *("masked_spec_embed", "num_batches_tracked"),
    *("position_ids", "token_type_ids", "relative_position_index"),
)


def read_config(directory: Path, types: Sequence[str], what: str) -> "PreTrainedConfig":
    """types: the `model_type` that it may be of. what: "a wav2vec2 model", for messages. Raises BadModel."""
    from transformers import AutoConfig

    found = _read_json(directory, CONFIG_FILE, what).get("model_type")
    if found not in types:
        raise BadModel(
            f"got {directory.name}, a model of type {quoted(str(found))}, expected {what}, of type "
            f"{' or '.join(types)}: name another model, or another --encoder"
        )
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a config's own checks raise
        raise BadModel(
            f"got a {CONFIG_FILE} in {directory.name} that is not of {what} ({reason_of(error)}): take it whole"
        ) from None


def read_preprocessor(directory: Path, types: Sequence[str], what: str) -> dict[str, Any]:
    """How sound is made ready for a model. types: the `feature_extractor_type` that it may be of. Raises BadModel."""
    if (directory / PREPROCESSOR_FILE).exists() or not (directory / PROCESSOR_FILE).exists():
        settings = _read_json(directory, PREPROCESSOR_FILE, what)
    else:
        settings = _read_json(directory, PROCESSOR_FILE, what).get("feature_extractor") or {}
    found = settings.get("feature_extractor_type")
    if found not in (*types, None):  # it is named since 2022
        raise BadModel(
            f"got {directory.name} with a {PREPROCESSOR_FILE} of type {quoted(str(found))}, expected "
            f"{' or '.join(types)}: take the one that was published with {what}"
        )
    return settings


def bad_preprocessor(directory: Path, error: Exception, what: str) -> BadModel:
    """For settings that a front end cannot be made of."""
    return BadModel(
        f"got a {PREPROCESSOR_FILE} in {directory.name} that cannot be used ({reason_of(error)}), expected that "
        f"of {what}: take the one that was published with it"
    )


def load_model(directory: Path, config: "PreTrainedConfig", what: str, *, attention: str = "sdpa") -> "PreTrainedModel":
    """The model without any head, in single precision, every one of its weights from the directory. Raises BadModel.

    attention: how it is computed: "sdpa", or "eager" for models that have no other.
    """
    from transformers import AutoModel

    if not weights_of(directory):
        raise BadModel(
            f"got {directory.name} without weights, expected {what} with a model.safetensors or pytorch_model.bin "
            f"beside its {CONFIG_FILE}"
        )
    be_quiet()
    try:
        model, loading = AutoModel.from_pretrained(
            directory,
            config=config,
            dtype="float32",
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a format of weights raises
        reason = reason_of(error).replace(str(directory), directory.name)
        raise BadModel(
            f"got weights in {directory.name} that cannot be read ({reason}), expected those of {what}, whole: "
            "copy or download them again"
        ) from None
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith(NOT_USED))
    if missing:
        raise BadModel(
            f"got weights in {directory.name} without {missing[0]} and {len(missing) - 1} others, expected all of "
            f"{what}: they belong to another model than its {CONFIG_FILE}"
        )
    return model.eval()


def be_quiet() -> None:
    """What transformers would warn of is an error here, or none."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def weights_of(directory: Path) -> list[Path]:
    """The files that hold the weights, those that transformers reads, in order."""
    paths = [path for path in sorted(directory.iterdir()) if WEIGHTS.fullmatch(path.name)]
    safe = [path for path in paths if path.suffix == ".safetensors"]
    return safe or paths


def sha256_of_weights(directory: Path) -> str:
    """Of the file that holds the weights; of their hashes, where they are in several."""
    hashes = [sha256_of(path) for path in weights_of(directory)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _read_json(directory: Path, name: str, what: str) -> dict[str, Any]:
    try:
        fields = json.loads((directory / name).read_bytes())
    except FileNotFoundError:
        raise BadModel(
            f"got {directory.name} without a {name}, expected {what} with all its files: "
            "copy that one too, from where the model was published"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(
            f"got a {name} in {directory.name} that is not JSON ({reason_of(error)}): take it whole"
        ) from None
    if not isinstance(fields, dict):
        raise BadModel(f"got a {name} in {directory.name} that is no JSON object, expected that of {what}")
    return fields
