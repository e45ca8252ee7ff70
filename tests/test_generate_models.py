"""Each family of generators, as a tiny model of its real classes through the real loaders."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_generators import SAVERS, save_audioldm

from audiorec.errors import BadModel, BadQuery, BadSetting, GenerationFailed
from audiorec.generate import Cancelled, Generator, Prompt, Sound, load_generator, result_key
from audiorec.generate.adapters import AdapterFacts, adapter_weights, attach, linear_layers, save_adapter
from audiorec.generate.fingerprint import fingerprint
from audiorec.generate.pipelines import open_pipeline

Directory = Callable[[str], Path]

KINDS = tuple(SAVERS)
LATENT = ("AudioLDMPipeline", "AudioLDM2Pipeline", "MusicLDMPipeline")
MUSICGEN = "MusicgenForConditionalGeneration"
RATES_HZ = dict.fromkeys(KINDS, 16_000) | {"StableAudioPipeline": 8_000}
DEFAULTS = {  # steps, guidance, seconds of the tiny one
    "AudioLDMPipeline": (200, 2.5, 0.64),
    "AudioLDM2Pipeline": (200, 3.5, 0.64),
    "MusicLDMPipeline": (200, 2.0, 0.64),
    "StableAudioPipeline": (100, 7.0, 2.048),
    MUSICGEN: (None, 3.0, 10.0),
}


@pytest.fixture(scope="module")
def generators(tiny_generator: Directory) -> Callable[[str], Generator]:
    loaded: dict[str, Generator] = {}

    def generator(kind: str) -> Generator:
        if kind not in loaded:
            loaded[kind] = load_generator(str(tiny_generator(kind)))
        return loaded[kind]

    return generator


def quiet(*_: int) -> None:
    """Nobody listens."""


def asked(kind: str, prompt: str = "rain", **fields: Any) -> Prompt:
    few_steps = {} if kind == MUSICGEN else {"steps": 3}
    return Prompt(prompt=prompt, **{"seconds": 0.5, "seed": 1, **few_steps, **fields})


def made(generator: Generator, **fields: Any) -> Sound:
    return generator.generate(asked(generator.facts.kind, **fields), quiet)


@pytest.mark.parametrize("kind", KINDS)
def test_facts(kind: str, generators: Callable[[str], Generator]) -> None:
    facts = generators(kind).facts
    assert (facts.kind, facts.name) == (kind, f"tiny-{kind}")
    assert (facts.default_steps, facts.default_guidance) == DEFAULTS[kind][:2]
    assert facts.default_s == pytest.approx(DEFAULTS[kind][2])
    assert facts.sample_rate_hz == RATES_HZ[kind]
    assert facts.n_channels == (2 if kind == "StableAudioPipeline" else 1)
    assert facts.max_s == (2.048 if kind == "StableAudioPipeline" else 30)
    assert facts.presets == ({"fast": 20} if kind in LATENT else {})
    assert facts.takes_negative == (kind != MUSICGEN)
    assert facts.arithmetic == "cpu float32"
    assert ("Stability" if kind == "StableAudioPipeline" else "CC-BY-NC") in facts.licence
    assert "no card that says" in facts.licence


def test_the_most_steps_are_those_that_the_scheduler_has(tiny_generator: Directory, generators: Any) -> None:
    """One more would be after the last moment that the model was trained for."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_pretrained(tiny_generator("AudioLDMPipeline") / "scheduler")
    most = generators("AudioLDMPipeline").facts.max_steps
    scheduler.set_timesteps(most)
    assert scheduler.timesteps.max() < scheduler.config.num_train_timesteps
    scheduler.set_timesteps(most + 1)
    assert scheduler.timesteps.max() >= scheduler.config.num_train_timesteps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.5, 0.57, 1.1])
def test_length_and_shape(kind: str, seconds: float, generators: Callable[[str], Generator]) -> None:
    sound = made(generators(kind), seconds=seconds)
    n_samples = round(seconds * RATES_HZ[kind])
    assert sound.samples.shape == ((n_samples, 2) if kind == "StableAudioPipeline" else (n_samples,))
    assert sound.samples.dtype == np.float32
    assert np.abs(sound.samples).max() <= 1
    assert sound.rate_hz == RATES_HZ[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_gives_the_same_samples(kind: str, generators: Callable[[str], Generator]) -> None:
    generator = generators(kind)
    first = made(generator).samples
    torch.rand(3)  # what else draws random numbers has no part in it
    assert np.array_equal(made(generator).samples, first)
    for other in ({"seed": 2}, {"prompt": "a dog barks"}, {"guidance": 9.0}):
        assert not np.array_equal(made(generator, **other).samples, first), other


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_seed_each_is_another(kind: str, generators: Callable[[str], Generator]) -> None:
    first, second = (made(generators(kind), seed=None).samples for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_would_make_the_same(kind: str, tiny_generator: Directory, generators: Any) -> None:
    """Nothing of the sounds before is left in a model: one that is loaded anew agrees."""
    made(generators(kind), seed=5)
    again = load_generator(str(tiny_generator(kind)))
    assert np.array_equal(made(again, prompt="wind").samples, made(generators(kind), prompt="wind").samples)
    assert again.facts == generators(kind).facts


def test_torch_draws_as_if_nothing_had_been_made(generators: Callable[[str], Generator]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    made(generators(MUSICGEN))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_is_told(kind: str, generators: Callable[[str], Generator]) -> None:
    steps: list[tuple[int, int]] = []
    generators(kind).generate(asked(kind), lambda done, total: steps.append((done, total)))
    n_steps = 0.5 * 50 + 3 if kind == MUSICGEN else 3
    assert steps == [(done, n_steps) for done in range(int(n_steps) + 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_step", [0, 2])
def test_cancelled_between_steps(kind: str, at_step: int, generators: Callable[[str], Generator]) -> None:
    generator = generators(kind)
    expected = made(generator).samples
    seen = []

    def cancel(done: int, _: int) -> None:
        seen.append(done)
        if done == at_step:
            raise Cancelled

    with pytest.raises(Cancelled):
        generator.generate(asked(kind), cancel)
    assert seen == list(range(at_step + 1))
    assert np.array_equal(made(generator).samples, expected)


@pytest.mark.parametrize("kind", LATENT)
def test_the_fast_preset(kind: str, generators: Callable[[str], Generator]) -> None:
    generator = generators(kind)
    usual = made(generator, steps=20).samples
    steps: list[int] = []
    fast = generator.generate(asked(kind, steps=None, preset="fast"), lambda _, total: steps.append(total))
    assert set(steps) == {20}
    assert not np.array_equal(fast.samples, usual)
    assert np.array_equal(made(generator, steps=20).samples, usual)
    assert type(generator._engine._schedulers["fast"]).__name__ == "DPMSolverMultistepScheduler"  # type: ignore[attr-defined]
    assert generator._engine._schedulers["fast"].config.algorithm_type == "dpmsolver++"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", LATENT)
@pytest.mark.parametrize("preset", [None, "fast"])
def test_one_step(kind: str, preset: str | None, generators: Callable[[str], Generator]) -> None:
    assert made(generators(kind), steps=1, preset=preset).duration_s == 0.5


@pytest.mark.parametrize("kind", [*LATENT, "StableAudioPipeline"])
def test_a_negative_prompt(kind: str, generators: Callable[[str], Generator]) -> None:
    without, against = (made(generators(kind), negative_prompt=text).samples for text in (None, "low quality"))
    assert not np.array_equal(without, against)


@pytest.mark.parametrize("kind", KINDS)
def test_no_guidance(kind: str, generators: Callable[[str], Generator]) -> None:
    assert made(generators(kind), guidance=0.0).duration_s == 0.5


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")  # diffusers to transformers
@pytest.mark.parametrize("kind", LATENT)
def test_the_samples_are_those_of_the_pipeline(kind: str, tiny_generator: Directory, generators: Any) -> None:
    pipe = open_pipeline(tiny_generator(kind))
    noise = torch.Generator().manual_seed(1)
    direct = pipe("rain", audio_length_in_s=0.64, num_inference_steps=3, guidance_scale=2.0, generator=noise).audios[0]
    ours = made(generators(kind), seconds=0.64, guidance=2.0).samples
    assert np.array_equal(ours, direct / max(1, np.abs(direct).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_words_beyond_what_the_model_reads(kind: str, generators: Callable[[str], Generator]) -> None:
    assert made(generators(kind), prompt="rain and 名前 " * 70).duration_s == 0.5


def test_bad_requests_do_not_reach_the_model(generators: Callable[[str], Generator]) -> None:
    for fields in ({"seconds": float("nan")}, {"steps": 0}, {"guidance": float("nan")}, {"adapter": "none"}):
        with pytest.raises(BadQuery):
            generators("AudioLDMPipeline").generate(
                asked("AudioLDMPipeline", **fields), lambda *_: pytest.fail("a step was made")
            )


def test_audioldm2_of_a_published_repository(tiny_generator: Directory, tmp_path: Path, generators: Any) -> None:
    """Those name a class of language model that has lost the methods it needs."""
    copy = shutil.copytree(tiny_generator("AudioLDM2Pipeline"), tmp_path / "copy")
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("GPT2LMHeadModel", "GPT2Model"))
    assert np.array_equal(made(load_generator(str(copy))).samples, made(generators("AudioLDM2Pipeline")).samples)


def test_stable_audio_of_a_published_repository(tiny_generator: Directory, tmp_path: Path) -> None:
    """Its scheduler draws noise between the steps, from a package of its own."""
    pytest.importorskip("torchsde", reason="pip install 'audiorec[stable-audio]'")
    copy = _with_cosine_scheduler(tiny_generator("StableAudioPipeline"), tmp_path / "copy")
    generator = load_generator(str(copy))
    first, again, other = (made(generator, steps=4, seed=seed).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_scheduler_whose_package_is_missing(
    tiny_generator: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = _with_cosine_scheduler(tiny_generator("StableAudioPipeline"), tmp_path / "copy")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadModel, match=r"needs torchsde: pip install 'audiorec\[stable-audio\]'"):
        load_generator(str(copy))


def _with_cosine_scheduler(directory: Path, target: Path) -> Path:
    copy = shutil.copytree(directory, target)
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        path = copy / name
        path.write_text(path.read_text().replace("EDMDPMSolver", "CosineDPMSolver"))
    return copy


@pytest.mark.parametrize("spoilt", ["nan", "silent", "clipped"])
def test_what_is_no_sound_is_a_failure(spoilt: str, tiny_generator: Directory) -> None:
    """The last layer of the vocoder gives its bias alone: a constant, tanh of it, or NaN; or far too much."""
    generator = load_generator(str(tiny_generator("AudioLDMPipeline")))
    last = generator._engine.pipe.vocoder.conv_post  # type: ignore[attr-defined]
    with torch.no_grad():
        if spoilt == "clipped":
            last.weight.mul_(1e4)
        else:
            last.weight.zero_()
            last.bias.fill_(float("nan") if spoilt == "nan" else 0.5)
    with pytest.raises(GenerationFailed) as failed:
        made(generator)
    assert failed.value.code == {"nan": "not_finite"}.get(spoilt, spoilt)


def test_no_memory_left(generators: Callable[[str], Generator], monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object) -> None:
        torch.empty(2**60)

    with pytest.raises(GenerationFailed, match="ask for fewer seconds") as failed:
        generators("AudioLDMPipeline").generate(asked("AudioLDMPipeline"), allocate)
    assert failed.value.code == "out_of_memory"


def test_another_fault_is_not_hidden(generators: Callable[[str], Generator]) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        generators("AudioLDMPipeline").generate(asked("AudioLDMPipeline"), fail)


def test_in_a_thread(generators: Callable[[str], Generator]) -> None:
    expected, sounds = made(generators(MUSICGEN)), list[Sound]()
    thread = threading.Thread(target=lambda: sounds.append(made(generators(MUSICGEN))))
    thread.start()
    thread.join()
    assert np.array_equal(sounds[0].samples, expected.samples)


def test_threads_are_a_setting(tiny_generator: Directory) -> None:
    before = torch.get_num_threads()
    try:
        load_generator(str(tiny_generator("AudioLDMPipeline")), n_threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("AudioLDMPipeline", "UNet2DConditionModel"),
        ("StableAudioPipeline", "StableAudioDiTModel"),
        (MUSICGEN, "MusicgenForCausalLM"),
    ],
)
def test_what_is_compiled(kind: str, part: str, tiny_generator: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that is called at every step; compiling it in earnest takes minutes."""
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    generator = load_generator(str(tiny_generator(kind)), compile=True)
    assert compiled == [part]
    assert generator.facts.arithmetic == "cpu float32 compiled"


@pytest.mark.parametrize("kind", ["AudioLDMPipeline", MUSICGEN])
def test_bfloat16(kind: str, tiny_generator: Directory, generators: Callable[[str], Generator]) -> None:
    halved = load_generator(str(tiny_generator(kind)), dtype="bfloat16")
    assert halved.facts.arithmetic == "cpu bfloat16"
    assert made(halved).samples.dtype == np.float32
    prompt = asked(kind)
    assert result_key(prompt, halved.facts) != result_key(prompt, generators(kind).facts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float16"}, "half precision needs a GPU"),
        ({"dtype": "int8"}, "got dtype 'int8', expected one of float32, bfloat16, float16"),
        ({"device": "cuda:99"}, "got device 'cuda:99', expected cpu, or a GPU"),
        ({"device": "toaster"}, "got device 'toaster', expected cpu, or a GPU"),
    ],
)
def test_bad_settings(settings: dict[str, str], message: str, tiny_generator: Directory) -> None:
    with pytest.raises(BadSetting, match=message):
        load_generator(str(tiny_generator("AudioLDMPipeline")), **settings)  # type: ignore[arg-type]


def test_the_model_card_says_the_licence(tiny_generator: Directory, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_generator("AudioLDMPipeline"), tmp_path / "copy")
    for front, licence in (
        ("license: cc0-1.0\ntags: [x]", "cc0-1.0"),
        ('language: en\nlicense: "mit"  # all', "mit"),
        ("license: other\nlicense_name: stable-audio-community\nlicense_link: LICENSE", "stable-audio-community"),
    ):
        (copy / "README.md").write_text(f"---\n{front}\n---\n# A model\nlicense: none\n")
        assert load_generator(str(copy)).facts.licence == licence
    (copy / "README.md").write_text("# A model\nlicense: none\n---\n")
    assert "no card that says" in load_generator(str(copy)).facts.licence


def test_the_fingerprint_is_that_of_the_files(tiny_generator: Directory, tmp_path: Path) -> None:
    original = tiny_generator("AudioLDMPipeline")
    copy = shutil.copytree(original, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(original)
    (copy / "README.md").write_text("a card")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.json").write_text("{}")
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"beside safetensors it is not read")
    assert fingerprint(copy) == fingerprint(original)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert fingerprint(copy) != fingerprint(original)


def _adapter(directory: Path, adapters_dir: Path, name: str, seed: int) -> None:
    pipe = open_pipeline(directory)
    attach(pipe, linear_layers(pipe.unet), rank=2)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in adapter_weights(pipe.unet).values():
            weight.normal_(std=0.5)
    facts = AdapterFacts(kind=type(pipe).__name__, base="tiny", rank=2)
    save_adapter(pipe, adapters_dir / f"{name}.safetensors", facts)


def test_adapters_by_name(tiny_generator: Directory, tmp_path: Path) -> None:
    """Put on and taken off again and again; saved and replaced while the model is loaded."""
    directory = tiny_generator("AudioLDMPipeline")
    generator = load_generator(str(directory), adapters_dir=tmp_path)
    assert generator.facts.adapters == {}
    base = made(generator).samples
    for seed, name in enumerate(("salsa", "cumbia")):
        _adapter(directory, tmp_path, name, seed)
    assert set(generator.facts.adapters) == {"salsa", "cumbia"}
    salsa, cumbia = (made(generator, adapter=name).samples for name in ("salsa", "cumbia"))
    assert not np.array_equal(salsa, base)
    assert not np.array_equal(salsa, cumbia)
    assert np.array_equal(made(generator).samples, base)
    assert np.array_equal(made(generator, adapter="salsa").samples, salsa)
    before = result_key(asked("AudioLDMPipeline", adapter="salsa"), generator.facts)
    _adapter(directory, tmp_path, "salsa", 7)
    assert result_key(asked("AudioLDMPipeline", adapter="salsa"), generator.facts) != before
    assert not np.array_equal(made(generator, adapter="salsa").samples, salsa)
    with pytest.raises(BadQuery, match="got adapter 'tango', expected one of: cumbia, salsa"):
        made(generator, adapter="tango")


def test_a_broken_adapter_leaves_the_base(tiny_generator: Directory, tmp_path: Path) -> None:
    directory = tiny_generator("AudioLDMPipeline")
    _adapter(save_audioldm(tmp_path / "other", seed=9), tmp_path, "foreign", 1)
    _adapter(directory, tmp_path, "good", 1)
    generator = load_generator(str(directory), adapters_dir=tmp_path)
    base = made(generator).samples
    good = made(generator, adapter="good").samples
    with pytest.raises(BadModel, match="foreign"):
        made(generator, adapter="foreign")
    assert np.array_equal(made(generator).samples, base)
    assert np.array_equal(made(generator, adapter="good").samples, good)
