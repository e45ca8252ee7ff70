"""audiorec: a self-hosted "more like this" service for audio.

The public Python interface, imported when first asked for:

    Nearest(model_dir).search(vector, k=10)
    Nearest(model_dir).search_text("rain on a tin roof")
    open_release(path), embed_file(path, model_dir), embed_texts(texts, model_dir)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiorec.errors import AudiorecError
    from audiorec.nearest import Nearest, embed_file, embed_texts
    from audiorec.release import open_release

__version__ = "0.1.0"
__all__ = ["AudiorecError", "Nearest", "__version__", "embed_file", "embed_texts", "open_release"]

_HOME = {
    "AudiorecError": "errors",
    "Nearest": "nearest",
    "embed_file": "nearest",
    "embed_texts": "nearest",
    "open_release": "release",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"audiorec.{_HOME[name]}"), name)
    raise AttributeError(f"module 'audiorec' has no attribute '{name}'")
