"""A download under way: its bytes so far, and what is needed to go on where they end."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audiorec.files import replacing, writing_to_disk


class Part:
    """`PARTS_DIR/DIGEST`, and `DIGEST.json` with the URL and the validator of the answer that it began with.

    validator: an ETag or date by which the server can tell that the file is still the same; None: begin anew.
    """

    def __init__(self, parts_dir: Path, digest: str) -> None:
        self.path = parts_dir / digest
        self._facts_path = parts_dir / f"{digest}.json"

    def resumable(self, url: str) -> tuple[int, str]:
        """(bytes that are there, their validator); (0, "") where there is nothing to go on from."""
        try:
            facts = json.loads(self._facts_path.read_bytes())
            n_bytes = self.path.stat().st_size
        except (OSError, ValueError):
            return 0, ""
        if facts["url"] != url or not n_bytes:
            return 0, ""
        return n_bytes, facts["validator"]

    @contextmanager
    def writing(self, url: str, validator: str | None, *, append: bool) -> Iterator[Callable[[bytes], None]]:
        """Yields what takes the bytes that come. append: after what is there, else in its place.

        Only what the disk does is NoSpace: the block is full of other things that can fail.
        """
        with writing_to_disk("a download"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not append:
                self.clear()
                if validator is not None:
                    with replacing(self._facts_path) as facts:
                        facts.write(json.dumps({"url": url, "validator": validator}).encode())
            file = self.path.open("ab" if append else "wb")

        def write(block: bytes) -> None:
            with writing_to_disk("a download"):
                file.write(block)
                file.flush()

        with file:
            yield write

    def clear(self) -> None:
        for path in (self._facts_path, self.path):
            path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Gives the whole file its name."""
        with writing_to_disk("a clip"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.path.replace(target)
            with suppress(FileNotFoundError):
                self._facts_path.unlink()
