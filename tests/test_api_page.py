"""The page in the browser: what is sent, how it may be kept, and that its files keep to its policy."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from api_fixtures import Catalogue, refusal, serving
from starlette.testclient import TestClient

from audiorec.api import page
from audiorec.api.keys import create_key
from audiorec.api.page import page_files

FOLDER = Path(page.__file__).parent
ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in FOLDER.iterdir() if path.suffix == ".js")


class Tags(HTMLParser):
    """tags: (name, attributes). inline: text inside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style"):
            self.inline += data.strip()


@pytest.fixture(scope="module")
def tags() -> Tags:
    parsed = Tags()
    parsed.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    return parsed


class TestAnswers:
    def test_the_page(self, client: TestClient) -> None:
        response = client.get("/")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.content == (FOLDER / "index.html").read_bytes()
        [policy] = response.headers.get_list("content-security-policy")
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["permissions-policy"].startswith("microphone=(self),")
        assert response.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("path", ["/", "/page/page.css", "/page/page.js"])
    def test_is_kept_and_asked_for_by_its_tag(self, client: TestClient, path: str) -> None:
        first = client.get(path)
        assert first.headers["cache-control"] == "no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200

    @pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".js")))
    def test_its_files(self, client: TestClient, name: str) -> None:
        response = client.get(f"/page/{name}")
        assert response.content == (FOLDER / name).read_bytes()
        kind = "javascript" if name.endswith(".js") else "css"
        assert response.headers["content-type"] == f"text/{kind}; charset=utf-8"

    @pytest.mark.parametrize("name", ["index.html", "__init__.py", "nope.js", "..%2f__init__.py", "%2e%2e/app.py"])
    def test_no_others(self, client: TestClient, name: str) -> None:
        assert client.get(f"/page/{name}").json()["error"]["code"] == "not_found"

    @pytest.mark.parametrize("sent", ["", "/audio"], ids=["stripped", "passed on"])
    def test_behind_a_prefix(self, catalogue: Catalogue, tags: Tags, sent: str) -> None:
        with serving(catalogue, root_path="/audio") as client:
            assert client.get(f"{sent}/").status_code == 200
            for link in links_of(tags):
                address = urljoin("https://host/audio/", link)
                path = sent + address.removeprefix("https://host/audio")
                assert client.get(path).status_code == 200, link

    def test_needs_no_key_and_shows_nothing(self, catalogue: Catalogue, tmp_path: Path) -> None:
        create_key(tmp_path / "keys.json", "a", ["read"])
        with serving(catalogue, keys_file=tmp_path / "keys.json") as client:
            assert client.get("/").content == (FOLDER / "index.html").read_bytes()
            assert client.get("/page/page.js").status_code == 200
            refusal(client.get("/page/../model"), 401, "missing_key")
            refusal(client.get("/model"), 401, "missing_key")


def links_of(tags: Tags) -> list[str]:
    """Without those that hold their content."""
    found = [attributes.get("href") or attributes.get("src") for _, attributes in tags.tags]
    return [link for link in found if link and not link.startswith("data:")]


def contrast(one: str, other: str) -> float:
    """Of two colours, #rrggbb: 1 to 21."""
    dim, bright = sorted(map(luminance, (one, other)))
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class TestFiles:
    def test_nothing_inline(self, tags: Tags) -> None:
        assert tags.inline == ""
        for _, attributes in tags.tags:
            assert [name for name in attributes if name.startswith("on") or name == "style"] == []

    def test_links_are_relative_and_there(self, client: TestClient, tags: Tags) -> None:
        assert {"page/page.css", "page/page.js", "docs"} <= set(links_of(tags))
        for link in links_of(tags):
            assert not re.match(r"/|\w+:", link)

    @pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
    def test_scripts_import_what_is_there_and_write_no_html(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"from '\./([\w.]+)'", text)) <= page_files().keys()
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == []
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}
        assert max(map(len, text.splitlines())) <= 160

    def test_the_style_needs_nothing_from_elsewhere(self) -> None:
        assert re.findall(r"url\(|@import", (FOLDER / "page.css").read_text(encoding="utf-8")) == []

    def test_what_is_read_stands_out(self) -> None:
        """By WCAG 2: 4.5 to 1 for text, 3 to 1 for the edges of fields and what shows a state."""
        light, dark = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(encoding="utf-8"), re.DOTALL)
        for declared in (light, light + dark):
            colours = dict(re.findall(r"--([\w-]+): (#\w{6});", declared))
            for ground in ("ground", "panel"):
                for ink in ("ink", "quiet", "accent"):
                    assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
                assert contrast(colours["edge"], colours[ground]) >= 3, ground
            assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
            assert contrast(colours["alarm"], colours["alarm-ground"]) >= 4.5
            assert contrast(colours["accent"], colours["track"]) >= 3

    def test_every_element_that_a_script_asks_for_is_there(self, tags: Tags) -> None:
        ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        asked = {name for path in SCRIPTS for name in re.findall(r"byId\('([\w-]+)'\)", path.read_text())}
        assert asked
        assert asked <= set(ids)

    def test_every_field_has_a_label(self, tags: Tags) -> None:
        labelled = {attributes.get("for") for tag, attributes in tags.tags if tag == "label"}
        inside = {"seconds", "fast", "k", "per-artist"}  # of their labels
        fields = {attributes["id"] for tag, attributes in tags.tags if tag == "input"}
        assert fields == labelled - {None} | inside

    def test_are_in_the_package(self) -> None:
        patterns = re.search(r"^audiorec = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert patterns is not None
        for suffix in {Path(name).suffix for name in page_files()}:
            assert f'"api/page/*{suffix}"' in patterns[1]
