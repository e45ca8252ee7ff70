"""The file that Annoy writes, read without Annoy.

It has no header, and Annoy trusts it: a wrong dimension or a bad child kills the process, a wrong metric answers
wrongly in silence. So it is checked as what it is, an array of equal nodes (annoylib.h), before Annoy sees it:

    clip i < n      int32 n_descendants = 1, float32 squared norm, one word unused, float32 vector[D]
    leaf            int32 n_descendants <= D + 2, int32 clips[n_descendants]
    split           int32 n_descendants > D + 2, int32 children[2], float32 normal[D]
    at the end      copies of the n_trees roots, whose n_descendants is always n, leaf or split
"""

import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadModelDir
from audiorec.index import Floats, Rows

BLOCK_NODES = 2**14  # nodes verified at once
SAMPLED_NODES = 2**10  # clips, and other nodes, in a sample
WALKED_BYTES = 2**26  # up to this size a file is always verified whole: 0.05 s

Nodes = npt.NDArray[np.int32]


def verify_annoy(path: Path, embeddings: Floats, n_trees: int | None = None, *, quick: bool = False) -> None:
    """Raise BadModelDir unless `path` is an angular index over exactly these (n, D) float32 embeddings.

    Every clip's vector must be its embedding, and every other node must lead to clips in finitely many steps; n_trees
    must be as given, if given. Reads the whole file or, with `quick`, of a large one a sample of nodes and the roots.
    """
    n, dim = embeddings.shape
    words, name = dim + 3, path.name
    n_bytes = _size_bytes(path)
    if n_bytes == 0 or n_bytes % (4 * words):
        raise BadModelDir(
            f"{name}: got {n_bytes} bytes, expected a multiple of {4 * words}, a node of dimension {dim}:"
            " build the index again"
        )
    try:
        nodes: Nodes = np.asarray(np.memmap(path, np.int32, "r")).reshape(-1, words)
    except OSError as error:
        raise BadModelDir(f"{name} could not be read: {error.strerror}") from error
    least = n + 2 * (n_trees or 1)
    if len(nodes) < least:
        raise BadModelDir(
            f"{name}: got {len(nodes)} nodes, expected at least {least} for {n} clips and {n_trees or 1} trees:"
            " build the index again"
        )
    got_trees = _count_trees(nodes, n)
    if got_trees != (n_trees or max(1, got_trees)):
        raise BadModelDir(
            f"{name}: got {got_trees} whole trees over {n} clips, expected {n_trees or 'some'}: build the index again"
        )
    sampled = quick and n_bytes > WALKED_BYTES
    for rows in _blocks(n, sampled):
        _verify_clips(name, nodes, np.asarray(embeddings), rows)
    for rows in _blocks(len(nodes) - n, sampled):
        _verify_inner(name, nodes, n, n + rows)
    _verify_inner(name, nodes, n, np.arange(len(nodes) - 2 * got_trees, len(nodes)))


def _size_bytes(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise BadModelDir(f"{path.name} could not be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise BadModelDir(f"{path.name} is not a regular file: build the index again")
    return status.st_size


def _blocks(n: int, sampled: bool) -> Iterator[Rows]:
    """0 to n - 1 in blocks, or a block of evenly spaced ones."""
    if sampled:
        yield np.linspace(0, n - 1, min(n, SAMPLED_NODES)).astype(np.int64)
        return
    for start in range(0, n, BLOCK_NODES):
        yield np.arange(start, min(n, start + BLOCK_NODES))


def _count_trees(nodes: Nodes, n: int) -> int:
    """The trees over n clips, counted from the end of the file as Annoy does; 0 if their roots are not all there."""
    n_full = 0
    while n_full < len(nodes) - n and nodes[-1 - n_full, 0] == n:
        n_full += 1
    if n < nodes.shape[1]:  # each tree is a single leaf: the roots and their copies are all that follows the clips
        return n_full // 2 if n_full % 2 == 0 and n_full == len(nodes) - n else 0
    # The last root lies right before the copies, of which its own is the last.
    return n_full - 1 if n_full > 1 and np.array_equal(nodes[-1], nodes[-n_full]) else 0


def _verify_clips(name: str, nodes: Nodes, embeddings: Floats, rows: Rows) -> None:
    """Check the nodes of clips `rows` against their embeddings, (n, D) float32."""
    clips, expected = nodes[rows], embeddings[rows]
    got, norms = clips[:, 3:].view(np.float32), clips[:, 1].view(np.float32)
    same = (clips[:, 0] == 1) & (got == expected).all(axis=1)
    same &= np.abs(norms - np.einsum("ij,ij->i", expected, expected)) < 1e-3
    if not same.all():
        row = rows[np.argmin(same)]
        raise BadModelDir(
            f"{name}: node {row} is not clip {row}: got {nodes[row, 0]} descendants, squared norm"
            f" {nodes[row, 1:2].view(np.float32)[0]:.4g} and a vector beginning"
            f" {nodes[row, 3:].view(np.float32)[0]:.4g}, expected 1, 1 and {embeddings[row, 0]:.4g}:"
            " build the index again"
        )


def _verify_inner(name: str, nodes: Nodes, n: int, rows: Rows) -> None:
    """Check that leaves among `rows` hold clips, and that splits divide what they hold, which ends in clips as well."""
    inner = nodes[rows]
    degree, children = inner[:, 0], inner[:, 1:]
    leaf = degree <= children.shape[1]
    used = np.arange(children.shape[1]) < np.where(leaf, degree, 2)[:, None]
    limit = np.where(leaf, n, len(nodes))[:, None]
    sound = (degree >= 1) & (degree <= n)
    sound &= ~(used & ((children < 0) | (children >= limit))).any(axis=1)
    splits = np.flatnonzero(sound & ~leaf)
    sound[splits] = nodes[children[splits, :2], 0].sum(axis=1, dtype=np.int64) == degree[splits]
    if not sound.all():
        row = rows[np.argmin(sound)]
        raise BadModelDir(
            f"{name}: node {row} of {len(nodes)} is damaged: got {nodes[row, 0]} descendants and children"
            f" {nodes[row, 1]}, {nodes[row, 2]}, expected parts of {n} clips in other nodes: build the index again"
        )
