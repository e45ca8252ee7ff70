"""Sounds from words, by pretrained models: `load_generator(source).generate(Prompt(prompt="rain"), on_step)`."""

from audiorec.generate.facts import Facts
from audiorec.generate.generator import Cancelled, Generator, load_generator
from audiorec.generate.prompt import Limits, Prompt, check, result_key, with_seed
from audiorec.generate.sound import FORMATS, Sound, encode_sound

__all__ = [
    "FORMATS",
    "Cancelled",
    "Facts",
    "Generator",
    "Limits",
    "Prompt",
    "Sound",
    "check",
    "encode_sound",
    "load_generator",
    "result_key",
    "with_seed",
]
