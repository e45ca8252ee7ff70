"""Ask a running service for the clips nearest to a clip of the catalogue, sent as an upload, and print the answer."""

import argparse
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from audiorec.files.tsv import read_tsv
from audiorec.report import neighbours_table

START_S = 60.0


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if is_ready(url):
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} was not ready within {START_S:g} s")


def is_ready(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/ready", timeout=5).close()
    except OSError:
        return False
    return True


def pick_clip(model_dir: Path, audio_dir: Path) -> tuple[str, Path]:
    """A clip whose file has its id for a name; in the middle of the catalogue, where labels are no less mixed."""
    clip_ids = [row["clip_id"] for row in read_tsv(model_dir / "current" / "metadata.tsv")]
    there = [clip_id for clip_id in clip_ids if (audio_dir / clip_id).is_file()]
    if not there:
        raise SystemExit(f"no clip of {model_dir} is a file in {audio_dir}: ask by clip_id")
    return there[len(there) // 2], audio_dir / there[len(there) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the service, as http://127.0.0.1:8000")
    parser.add_argument("audio_dir", type=Path, help="the folder that the model directory was built from")
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("-k", type=int, default=10)
    arguments = parser.parse_args()
    wait_until_ready(arguments.url)
    clip_id, path = pick_clip(arguments.model_dir, arguments.audio_dir)
    request = urllib.request.Request(
        f"{arguments.url}/nearest?{urllib.parse.urlencode({'k': arguments.k})}",
        data=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise SystemExit(json.load(error)["error"]["message"]) from None
    query = answer["query"]
    asked = f"{clip_id} ({query['duration_s']:.1f} s)"
    print(f"nearest to {asked}, release {answer['release']}, {answer['took_ms']:.0f} ms:\n")
    print(neighbours_table(answer["results"]))


if __name__ == "__main__":
    main()
