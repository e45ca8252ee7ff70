"""Whether the compiled Annoy runs here: built for another processor, it would end this process without a word."""

import subprocess
import sys

from audiorec.errors import AudiorecError

PROGRAM = """
from annoy import AnnoyIndex
index = AnnoyIndex(64, "angular")
for i in range(64):
    index.add_item(i, [float(i == j) for j in range(64)])
index.build(2)
assert index.get_nns_by_item(0, 1) == [0]
"""


def check_annoy_runs() -> None:
    """Builds and asks a small index in a child. Raises AudiorecError when that one dies."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    if done.returncode < 0:
        raise AudiorecError(
            f"got signal {-done.returncode} from Annoy's self-test, expected a clean end: it was compiled for another "
            "processor, build it on this one: pip install --force-reinstall --no-cache-dir --no-binary annoy annoy",
            code="annoy_self_test",
        )
    if done.returncode > 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise AudiorecError(
            f"got '{' '.join(last)}' from Annoy's self-test, expected a clean end: install annoy again",
            code="annoy_self_test",
        )
