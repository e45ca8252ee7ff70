"""Spoken words and numbers: many voices, accents and languages, rates and pitches."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from audiorec.training.corpus.clip import Clip, name_of, to_pcm
from audiorec.training.corpus.espeak import speaker
from audiorec.training.corpus.words import WORDS, word_label

TAKES = 4
WORD_SHARE = 0.7
VARIANTS = tuple(
    """
    m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 Andy Annie Alex Alicia Andrea Denis Diogo Gene
    Henrique Hugo Jacky Lee Marco Mario Michael Mike Storm adam anika antonio belinda benjamin boris caleb david ed
    edward grandma grandpa gustave iven john kaukovalta linda marcelo max michel miguel norbert pablo paul pedro
    quincy rob robert sandro shelby steph travis victor zac whisper whisperf croak UniRobot robosoft
    """.split()  # noqa: SIM905
)
ACCENTS = ("en-us", "en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbcwmd")
LANGUAGES = tuple(
    "en-us en de es fr it pl pt-br sv nl fi tr id sw cs hu ro da ru el ar hi ja cmn vi".split()  # noqa: SIM905
)


def speech(seed: Sequence[int], n_clips: int) -> Iterator[Clip]:
    """`n_clips` of speech, TAKES at a time: one English word in several voices, or one voice saying several numbers.

    A word is an instance and has a label of its own. Numbers are read in the language of the voice, which is their
    label; what one voice says is an instance.
    """
    # espeak-ng remembers what it has said, and speaks a little differently next time: a new process for each shard
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as speaking:
        yield from speaking.submit(_spoken, tuple(seed), n_clips).result()


def _spoken(seed: Sequence[int], n_clips: int) -> list[Clip]:
    clips: list[Clip | None] = []
    rng = np.random.default_rng(seed)
    for number in range(0, n_clips, TAKES):
        n_takes = min(TAKES, n_clips - number)
        if rng.random() < WORD_SHARE:
            word = WORDS[int(rng.integers(len(WORDS)))]
            for _ in range(n_takes):
                voice = _voice(rng, ACCENTS)
                clips.append(_said(word, voice, _manner(rng), word_label(word), f"word/{word}"))
        else:
            voice, manner = _voice(rng, LANGUAGES), _manner(rng)
            for _ in range(n_takes):
                text = " ".join(str(rng.integers(10 ** int(rng.integers(1, 5)))) for _ in range(rng.integers(2, 5)))
                language = voice.partition("+")[0]
                clips.append(_said(text, voice, manner, f"speech in {language}", name_of("voice", seed, number)))
    return [clip for clip in clips if clip is not None]


def _voice(rng: np.random.Generator, languages: Sequence[str]) -> str:
    return f"{languages[int(rng.integers(len(languages)))]}+{VARIANTS[int(rng.integers(len(VARIANTS)))]}"


def _manner(rng: np.random.Generator) -> tuple[int, int, int]:
    """(words a minute, pitch, range of pitch), the latter two of 0-99."""
    return int(rng.integers(110, 230)), int(rng.integers(15, 90)), int(rng.integers(20, 80))


def _said(text: str, voice: str, manner: tuple[int, int, int], label: str, instance: str) -> Clip | None:
    pcm = to_pcm(speaker().say(text, voice, *manner), speaker().rate_hz)
    return None if pcm is None else Clip(pcm, label, instance, voice, credit="espeak-ng")
