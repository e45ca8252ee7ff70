"""Music for several instruments, composed by the rules of a style and played by soundfonts."""

from collections.abc import Iterator, Sequence

import numpy as np

from audiorec.training.corpus.clip import Clip, name_of, to_pcm
from audiorec.training.corpus.composer import compose
from audiorec.training.corpus.fluid import LICENCE, RATE_HZ, SOUNDFONTS, synthesisers
from audiorec.training.corpus.recording import in_hall
from audiorec.training.corpus.styles import STYLES

TAKES = 2
LENGTH_S = (4.0, 9.0)


def music(seed: Sequence[int], n_clips: int) -> Iterator[Clip]:
    """`n_clips` excerpts of pieces, TAKES of each: one composition from another bar, in another key, tempo and room."""
    rng = np.random.default_rng(seed)
    names = list(STYLES)
    order = rng.permutation(len(names))
    with synthesisers() as fonts:
        for number in range(-(-n_clips // TAKES)):
            style = names[order[number % len(names)]]
            piece_seed = int(rng.integers(2**62))
            for _ in range(min(TAKES, n_clips - number * TAKES)):
                length_s, font = float(rng.uniform(*LENGTH_S)), str(rng.choice(list(fonts)))
                programs, notes = compose(STYLES[style], np.random.default_rng(piece_seed), rng, length_s, fonts[font])
                sound = in_hall(fonts[font].play(programs, notes, length_s), rng, RATE_HZ)
                if (pcm := to_pcm(sound, RATE_HZ)) is not None:
                    yield Clip(pcm, style, name_of("piece", seed, number), font, LICENCE, SOUNDFONTS[font].package)
