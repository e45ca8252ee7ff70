"""Seconds that a generator takes for each second of sound and for each step: one small, one of a published size.

Their weights are random (`audiorec.random_audioldm`): their speed and memory are real, their sound is not.
Processor time of all threads is what counts on a machine that does other work as well.
"""

import argparse
import itertools
import resource
import sys
import tempfile
import time
import warnings
from contextlib import suppress

import torch

from audiorec.errors import GenerationFailed
from audiorec.generate import Generator, Prompt, load_generator
from audiorec.random_audioldm import SIZES, n_weights, random_audioldm
from audiorec.report import table


def timed(generator: Generator, seconds: float, steps: int) -> tuple[float, list[float]]:
    """Processor seconds of a whole sound, and of each of its steps."""
    marks = []
    begun = time.process_time()
    asked = Prompt(prompt="rain on a roof", seconds=seconds, steps=steps, seed=1)
    with suppress(GenerationFailed):  # random weights may well give silence
        generator.generate(asked, lambda *_: marks.append(time.process_time()))
    return time.process_time() - begun, [after - before for before, after in itertools.pairwise(marks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["small"], choices=sorted(SIZES))
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            pipeline = random_audioldm(SIZES[name])
            pipeline.save_pretrained(folder)
            size = f"{n_weights(pipeline) / 1e6:.1f} M"
            del pipeline
            generator = load_generator(folder, n_threads=arguments.threads)
            loading = time.process_time() - begun
        timed(generator, arguments.seconds, 1)  # what is done once
        whole, steps = timed(generator, arguments.seconds, arguments.steps)
        step = sum(steps) / len(steps)
        rest = whole - sum(steps)
        usual = [(rest + n * step) / arguments.seconds for n in (20, 200)]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        numbers = (loading, step, rest, *usual)
        rows.append([name, size, *(f"{number:.2f}" for number in numbers), f"{memory:.0f}"])
    header = ("size", "weights", "make and load", "a step", "the rest", "20 steps", "200 steps", "peak MB")
    print(
        f"{arguments.seconds} s of sound, {arguments.threads} thread(s), torch {torch.__version__}; processor seconds,"
    )
    print("at 20 (preset fast) and 200 steps for each second of sound\n")
    print(table(header, rows))


if __name__ == "__main__":
    main()
