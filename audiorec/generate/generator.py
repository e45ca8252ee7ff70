"""A model that is loaded, and what one asks of it: a sound, step by step."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from audiorec.errors import BadModel, BadSetting, GenerationFailed
from audiorec.files import sha256_of
from audiorec.generate.facts import Facts
from audiorec.generate.families import FAMILIES, kind_of, measure
from audiorec.generate.fingerprint import fingerprint
from audiorec.generate.licence import licence_of
from audiorec.generate.prompt import DEFAULT, UNLIMITED, Limits, Prompt, check, with_seed
from audiorec.generate.sound import Sound, checked
from audiorec.hub import local_model
from audiorec.quoting import quoted

if TYPE_CHECKING:
    from audiorec.generate.engines import Engine

OnStep = Callable[[int, int], None]

MIN_S = 0.5  # less is a click, and no model has learnt from it
DTYPES = ("float32", "bfloat16", "float16")
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # in what torch says of it


class Cancelled(Exception):
    """Raised in `on_step` by whoever wants the sound no more; `generate` lets it through."""


class Generator:
    """One model in memory, one sound at a time."""

    def __init__(self, engine: "Engine", facts: Facts, adapters_dir: Path | None = None) -> None:
        self._engine = engine
        self._facts = facts
        self._adapters_dir = adapters_dir
        self._adapter: tuple[str, str] | None = None  # the name and hash of the one that is on
        self._hashes: dict[tuple[Path, int, int], str] = {}

    @property
    def facts(self) -> Facts:
        """As they are now: an adapter that was saved since is among them."""
        return self._facts.model_copy(update={"adapters": {name: sha for name, (_, sha) in self._adapters().items()}})

    def check(self, prompt: Prompt, limits: Limits = DEFAULT) -> Prompt:
        """The request with the model's own values filled in. Raises BadQuery."""
        return check(prompt, self.facts, limits)

    def generate(self, prompt: Prompt, on_step: OnStep) -> Sound:
        """Makes the sound of a request. The same seed gives the same samples; none gives others each time.

        on_step: is told (steps done, steps in all), 0 before the first; what it raises ends the work at once, and the
        model is as good as before. Raises BadQuery, GenerationFailed, and BadModel for a broken adapter.
        """
        asked = with_seed(self.check(prompt, UNLIMITED))
        self._put_on(asked.adapter)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the libraries say to one another
                samples = self._engine.run(asked, on_step)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in NO_MEMORY):
                raise
            raise GenerationFailed(
                f"got a request for {asked.seconds:g} s, expected one that fits into memory: ask for fewer seconds",
                code="out_of_memory",
            ) from None
        return checked(samples, self._facts.sample_rate_hz)

    def _put_on(self, name: str | None) -> None:
        """Changes the adapter where another one is asked for, or the same name is another file now."""
        path, sha256 = self._adapters()[name] if name else (None, "")
        wanted = (name, sha256) if name else None
        if wanted != self._adapter:
            self._adapter = None
            self._engine.put_on(path)
            self._adapter = wanted

    def _adapters(self) -> dict[str, tuple[Path, str]]:
        """Those for a model of this kind, by name: (path, SHA-256)."""
        if self._adapters_dir is None:
            return {}
        from audiorec.generate.adapters import list_adapters, read_facts

        found = {}
        for name, path in list_adapters(self._adapters_dir).items():
            with suppress(BadModel, OSError):  # gone, or replaced just now
                if read_facts(path).kind == self._facts.kind:
                    found[name] = (path, self._hash(path))
        return found

    def _hash(self, path: Path) -> str:
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = sha256_of(path)
        return self._hashes[key]


def load_generator(
    source: str,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    compile: bool = False,
    adapters_dir: Path | None = None,
    n_threads: int | None = None,
) -> Generator:
    """A model by hub id or directory.

    device: as torch calls it: cpu, cuda, cuda:1. dtype: float32 unless said; float16 needs a GPU. compile: by
    `torch.compile`, which makes the first sound take minutes and others less. adapters_dir: where its adapters are.
    n_threads: of this process, from now on. Raises BadModel, BadSetting.
    """
    directory = local_model(source, what="a model that makes sounds")
    name = directory.resolve().name if Path(source).expanduser().exists() else source
    check_device(device, dtype)
    facts = read_facts(directory, name, arithmetic=f"{device} {dtype or DTYPES[0]}{' compiled' * compile}")
    from audiorec.generate.engines import open_engine

    if n_threads is not None:
        import torch

        torch.set_num_threads(n_threads)
    engine = open_engine(directory, facts.kind, device=device, dtype=dtype or DTYPES[0], compile=compile)
    return Generator(engine, facts, adapters_dir)


def read_facts(directory: Path, name: str, *, arithmetic: str = "cpu float32") -> Facts:
    """What the files of a model say, read without loading it. Raises BadModel."""
    kind = kind_of(directory)
    family, measures = FAMILIES[kind], measure(directory, kind)
    return Facts(
        name=name,
        kind=kind,
        licence=licence_of(directory, family.licence),
        sample_rate_hz=measures.sample_rate_hz,
        n_channels=measures.n_channels,
        min_s=MIN_S,
        max_s=measures.max_s,
        default_s=measures.default_s,
        default_steps=family.default_steps,
        max_steps=measures.max_steps,
        default_guidance=family.default_guidance,
        takes_negative=family.takes_negative,
        presets=dict(family.presets),
        fingerprint=fingerprint(directory),
        arithmetic=arithmetic,
    )


def check_device(device: str, dtype: str | None) -> None:
    """Raises BadSetting for a device that is not there, or one that cannot compute so."""
    import torch

    if dtype is not None and dtype not in DTYPES:
        raise BadSetting(f"got dtype {quoted(dtype)}, expected one of {', '.join(DTYPES)}")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # what a build without CUDA raises
        raise BadSetting(f"got device {quoted(device)}, expected cpu, or a GPU that torch finds here") from None
    if dtype == "float16" and torch.device(device).type == "cpu":
        raise BadSetting("got float16 on the CPU, expected float32 or bfloat16: half precision needs a GPU")
