"""Pretrained models by what a person calls them: a local directory, or an id of the Hugging Face hub.

What a hub id needs comes into the hub's own cache (`HF_HOME`), once; offline (`HF_HUB_OFFLINE=1`), and while the hub
cannot be reached, what is in there is used.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import urlsplit

from audiorec.errors import BadModel
from audiorec.quoting import quoted

MODEL_FILES = ("config.json", "model_index.json")  # of transformers, of diffusers: a directory has one of them
WAIT_S = 8.0  # for the hub's first answer, however little of the network there is
WEIGHTS = (".safetensors", ".bin")  # what is read of all that models are published as; the first that is there
OTHER_WEIGHTS = (
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".pt",
    ".pth",
    ".ckpt",
    ".tflite",
    ".gguf",
    ".mlmodel",
)


def local_model(source: str, *, what: str) -> Path:
    """The directory of a pretrained model: `source` itself, or where the hub's files of that id are.

    what: what is expected, for messages, as "a wav2vec2 model". A source that exists, or begins with `.`, `/` or `~`,
    is never asked of the hub. Raises BadModel for what is no directory of a model, an id that the hub does not have,
    and within seconds for a hub that cannot be reached.
    """
    if is_local(source):
        return _checked(os.path.expanduser(source), source, what)
    return _checked(str(_from_hub(source, what)), source, what)


def is_local(source: str) -> bool:
    """Whether it is the name of a directory, there or not, rather than a hub id."""
    return source.startswith((".", "/", "~")) or os.path.exists(source)


def wanted_files(names: Iterable[str]) -> list[str]:
    """Of the files of a repository, those that a model is loaded from: weights in one format, and all that is small."""
    names = [name for name in names if not name.endswith(OTHER_WEIGHTS)]
    safe = {PurePosixPath(name).parent for name in names if name.endswith(WEIGHTS[0])}
    return [name for name in names if not (name.endswith(WEIGHTS[1]) and PurePosixPath(name).parent in safe)]


def _checked(directory: str, source: str, what: str) -> Path:
    path = Path(directory)
    if not os.path.exists(path):  # unlike the method of a path, it says no to names that no file can have
        raise BadModel(f"got no directory {quoted(source)}, expected {what}: name one that is there, or a hub id")
    if not path.is_dir():
        raise BadModel(f"got a file {quoted(source)}, expected the directory of {what}: name the directory it is in")
    if not any((path / name).is_file() for name in MODEL_FILES):
        raise BadModel(
            f"got a directory {quoted(source)} with neither {' nor '.join(MODEL_FILES)}, expected {what} "
            "as `save_pretrained` or `hf download ID --local-dir DIR` writes it"
        )
    return path


def _from_hub(model_id: str, what: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(model_id)
    except HFValidationError:
        raise BadModel(
            f"got {quoted(model_id)}, which is neither a directory nor a hub id, expected {what}, as OWNER/NAME"
        ) from None
    if constants.HF_HUB_OFFLINE:
        return _cached(model_id) or _unreachable(model_id, what, "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set")
    try:
        listed = _within(WAIT_S, lambda: HfApi().model_info(model_id, timeout=WAIT_S))
    except RepositoryNotFoundError:  # a private or a gated one as well
        raise BadModel(
            f"got {quoted(model_id)}, expected {what}: there is no such directory here, and the hub has none of that "
            "name that it lets you read: correct it, or log in by `hf auth login`"
        ) from None
    except Exception as error:  # those of the hub's HTTP library, whichever its version has
        host = urlsplit(constants.ENDPOINT).netloc
        return _cached(model_id) or _unreachable(model_id, what, f"{host} cannot be reached ({_reason(error)})")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        wanted = wanted_files(sibling.rfilename for sibling in listed.siblings or ())
        return Path(snapshot_download(model_id, allow_patterns=wanted))
    except Exception as error:
        raise BadModel(
            f"got only a part of {quoted(model_id)} from the hub ({_reason(error)}), expected all of it: "
            "the same command goes on where it stopped"
        ) from None


def _cached(model_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(model_id, name) for name in MODEL_FILES)
    return next((Path(name).parent for name in found if isinstance(name, str)), None)


def _unreachable(model_id: str, what: str, reason: str) -> NoReturn:
    raise BadModel(
        f"got {quoted(model_id)}, expected {what}: there is no such directory here, it is not in the cache, and "
        f"{reason}. Pass a directory instead: `hf download {model_id} --local-dir DIR` where there is a network, "
        "copy DIR here, and name it as ./DIR"
    )


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What `ask` returns or raises; TimeoutError once it takes longer, for a silent name server has its patience."""
    ended: dict[str, Any] = {}

    def run() -> None:
        try:
            ended["result"] = ask()
        except Exception as error:
            ended["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in ended:
        raise ended["error"]
    if "result" not in ended:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return ended["result"]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:120]}".rstrip(": ")
