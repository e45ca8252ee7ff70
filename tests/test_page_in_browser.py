"""The page, driven in a real browser over a real server."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from api_fixtures import Catalogue
from browser import Page, browsing
from model_dirs import copied
from servers import Running, running, wait_until
from sounds import make_clips, tone
from test_api_generation import making
from test_text_search import built
from tiny_clap import save_clap

from audiorec.api.keys import create_key
from audiorec.nearest import Nearest
from audiorec.publishing.edit import remove
from audiorec.testing import make_release

ID = "a/clip 20.wav"
N_RESULTS = "document.querySelectorAll('.result').length"
SHOWN = "!document.querySelector('#ask').hidden"
PROGRESS = "document.querySelector('#told').textContent"
MAKING = f"{PROGRESS}.startsWith('Making it, step ')"
TOLD = "document.querySelector('#failure').textContent"
HEADING = "document.querySelector('#asked').textContent"
CATALOGUE = "document.querySelector('#catalogue').textContent"
FIRST = "document.querySelector('.result .title')?.textContent"
RECORD = "document.querySelector('#record').textContent"
BUSY = "!document.querySelector('#busy').hidden || document.querySelector('#answer').ariaBusy === 'true'"
SPOKEN = ("button", "link", "textbox", "combobox", "meter")  # what a screen reader has to have a name for
PRESSED = (  # the ranks of what plays; 0 is what was asked by
    "[...document.querySelectorAll('.play')].flatMap((button, rank) => "
    "(button.getAttribute('aria-pressed') === 'true' ? [rank] : []))"
)
HEARD = "a/clip 20.wav"  # what the microphone hears, over and over


@pytest.fixture(scope="module")
def tab(catalogue: Catalogue) -> Iterator[Page]:
    with browsing(f"--use-file-for-fake-audio-capture={catalogue.audio_dir / HEARD}") as page:
        yield page


@pytest.fixture
def page(tab: Page) -> Page:
    """On a screen that no other test has narrowed."""
    tab.look(900, 1_000)
    tab.complaints.clear()
    return tab


@pytest.fixture(scope="module")
def server(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ["--port", "0", "--clips-dir", str(catalogue.audio_dir)]
    with running(
        tmp_path_factory.mktemp("server"), ["audiorec.cli", "serve", str(catalogue.model_dir), *options]
    ) as server:
        server.wait_until_ready()
        yield server


def test_a_visit(page: Page, server: Running, catalogue: Catalogue) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    page.open(url)
    page.wait_for(SHOWN)
    assert page.run("document.querySelector('#catalogue').textContent").startswith("40 clips")
    assert page.run("document.querySelector('#text-form').hidden && document.querySelector('#prompt-form').hidden")

    page.run(f"document.querySelector('#k').value = 4; document.querySelector('#clip').value = '{ID}'")
    page.click("#clip-form button")
    page.wait_for(f"{N_RESULTS} === 4")
    assert page.run(HEADING).startswith("Nearest to Take 20")
    assert page.run("location.hash") == "#clip=a%2Fclip+20.wav&k=4"

    page.click(".result .play")
    page.wait_for("document.querySelector('audio').duration > 0")

    page.click(".result .links a")
    page.wait_for(f"!{HEADING}.endsWith('Take 20') && {N_RESULTS} === 4")
    page.run("history.back()")
    page.wait_for(f"{HEADING}.endsWith('Take 20')")

    page.choose_file("#file", catalogue.audio_dir / "a" / "clip 00.wav")
    page.wait_for(f"{HEADING} === 'Nearest to clip 00.wav' && {N_RESULTS} === 4")
    assert page.run("document.querySelector('.result .similarity').textContent") == "1.000"

    page.click("#random")
    page.wait_for(f"location.hash.startsWith('#clip=') && !{HEADING}.endsWith('clip 00.wav')")
    assert page.run(TOLD) == ""
    assert page.complaints == []


def test_a_file_is_dropped(page: Page, server: Running, catalogue: Catalogue) -> None:
    path = catalogue.audio_dir / HEARD
    page.open(f"http://127.0.0.1:{server.port}/#clip={ID}&k=3")
    page.wait_for(f"{N_RESULTS} === 3")
    page.drag_file("#drop", path, "dragEnter", "dragOver")
    page.wait_for("document.body.classList.contains('dropping')")
    page.drag_file("h1", path, "dragOver")  # anywhere will do
    assert page.run("document.body.classList.contains('dropping')")
    page.drag_file("h1", path, "drop")
    page.wait_for(f"{HEADING} === 'Nearest to clip 20.wav' && {N_RESULTS} === 3 && {FIRST} === 'Take 20'")
    assert not page.run("document.body.classList.contains('dropping')")
    assert page.complaints == []


def test_a_file_is_pasted(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    paste = """(field, part) => {
        const clipboardData = new DataTransfer();
        clipboardData.items.add(part, 'text/plain');
        field.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }"""
    page.run(f"({paste})(document.querySelector('#clip'), 'words')")
    assert page.run("location.hash") == ""
    sound = f"(await (await fetch('clips/{HEARD.replace(' ', '%20')}/sound')).blob())"
    file = f"new File([{sound}], 'from elsewhere.wav', {{ type: 'audio/wav' }})"
    paste = paste.replace("(field, part)", "(field, file)").replace("(part, 'text/plain')", "(file)")
    page.run(f"(async () => ({paste})(document.querySelector('#clip'), {file}))()")
    page.wait_for(f"{HEADING} === 'Nearest to from elsewhere.wav' && {FIRST} === 'Take 20'")
    assert page.complaints == []


def test_a_sound_is_recorded_as_it_is(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(f"{SHOWN} && !document.querySelector('#record').hidden")
    page.run("""{
        const give = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.given = [];
        navigator.mediaDevices.getUserMedia = async (wishes) => {
            const stream = await give(wishes);
            window.given.push(...stream.getTracks());
            return stream;
        };
    }""")
    page.click("#record")
    page.click("#record")  # in haste
    page.wait_for(f"{RECORD}.startsWith('Stop, 2')")
    track = "(({ echoCancellation: echo, noiseSuppression: noise, autoGainControl: gain }) => [echo, noise, gain])"
    assert page.run(f"given.map((track) => {track}(track.getSettings()))") == [[False] * 3]
    page.click("#record")
    page.wait_for(f"{HEADING} === 'Nearest to your recording' && {N_RESULTS} === 10")
    assert page.run(FIRST) == "Take 20"
    assert page.run(f"{RECORD} === 'Record' && given.every((track) => track.readyState === 'ended')")
    assert page.run(f"{PROGRESS}.includes(' s of sound, 10 clips in ')")
    page.click(".asked .play")
    page.wait_for("!document.querySelector('audio').paused")

    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))")
    page.click("#record")
    page.wait_for(f"{TOLD} === 'The browser was not allowed to use the microphone.' && {RECORD} === 'Record'")
    assert page.complaints == []


def test_a_reload_forgets_sounds_and_takes_none_for_another(page: Page, server: Running, catalogue: Catalogue) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    page.choose_file("#file", catalogue.audio_dir / "a/clip 20.wav")
    page.wait_for(f"{HEADING} === 'Nearest to clip 20.wav'")
    page.reload()
    page.wait_for(f"{TOLD} === 'That sound is not here any more: choose or record it again.'")
    assert page.run("document.querySelector('#answer').hidden")
    page.choose_file("#file", catalogue.audio_dir / "b/clip 21.wav")
    page.wait_for(f"{HEADING} === 'Nearest to clip 21.wav' && {TOLD} === ''")
    page.run("history.back()")
    page.wait_for(f"{TOLD}.startsWith('That sound is not here any more')")
    page.run("history.forward()")
    page.wait_for(f"{HEADING} === 'Nearest to clip 21.wav' && {TOLD} === ''")
    assert page.complaints == []


def test_one_sound_at_a_time_plays_on_from_answer_to_answer(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
    page.wait_for(f"{N_RESULTS} === 10")
    page.run("document.querySelector('audio').loop = true")
    for number in (1, 3, 2):
        page.click(f".result:nth-child({number}) .play")
        page.wait_for(f"{PRESSED}.join() === '{number}' && !document.querySelector('audio').paused")
    title = page.run("document.querySelector('#playing').textContent")
    page.click(".result:nth-child(2) .links a")
    page.wait_for(f"{HEADING} === 'Nearest to ' + {json.dumps(title)}")
    assert page.run(PRESSED) == [0]  # beside the heading
    page.click(".asked .play")
    page.wait_for(f"document.querySelector('audio').paused && {PRESSED}.length === 0")
    page.click("#close-player")
    assert page.run("document.querySelector('#player').hidden && document.activeElement.matches('.asked .play')")
    assert page.complaints == []


def test_why_a_clip_cannot_be_heard_is_told_where_it_would_be(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0", "--clips-dir", str(tmp_path)]
    with running(tmp_path, command) as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
        page.wait_for(f"{N_RESULTS} === 10")
        page.click(".result:nth-child(2) .play")
        page.wait_for("document.querySelector('#playing').textContent.includes('whose file is not in the folder')")
        assert page.run(f"document.querySelector('audio').hidden && {PRESSED}.length === 0 && {TOLD} === ''")
        page.click("#close-player")
        assert page.run("document.activeElement.matches('.result:nth-child(2) .play')")
    page.complaints.clear()  # the browser's own lines for answers 404


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "sowt"])
def test_an_aiff_is_heard_as_it_is(page: Page, server: Running, tmp_path: Path, subtype: str) -> None:
    sound = np.stack([tone(0.3, 440, 44_100), tone(0.3, 660, 44_100)], axis=1)
    path = tmp_path / "two voices.aiff"
    layout = {"subtype": "PCM_16", "endian": "LITTLE"} if subtype == "sowt" else {"subtype": subtype}
    soundfile.write(path, sound, 44_100, format="AIFF", **layout)
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    page.choose_file("#file", path)
    page.wait_for(f"{HEADING} === 'Nearest to two voices.aiff'")
    page.run("""{
        const create = URL.createObjectURL;
        URL.createObjectURL = (file) => create(window.played = file);
    }""")
    page.click(".asked .play")
    page.wait_for("document.querySelector('audio').duration > 0")
    wav = page.run("played.arrayBuffer().then((wav) => [...new Uint8Array(wav)])")
    heard, rate_hz = soundfile.read(io.BytesIO(bytes(wav)))
    assert rate_hz == 44_100
    np.testing.assert_array_equal(heard, soundfile.read(path)[0])
    assert page.complaints == []


def test_there_is_something_to_start_from(page: Page, server: Running, catalogue: Catalogue) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(f"{HEADING} === 'Some clips to start from' && {N_RESULTS} > 1")
    links = page.run("[...document.querySelectorAll('.links a:first-child')].map((link) => link.hash)")
    assert len(set(links)) == len(links) <= 6
    assert page.run("document.querySelectorAll('.rank, meter').length") == 0
    page.click(".result .play")
    page.wait_for("document.querySelector('audio').duration > 0")
    page.click(".result .links a")
    page.wait_for(f"{HEADING}.startsWith('Nearest to ') && {N_RESULTS} === 10")
    assert page.run("document.querySelectorAll('.rank').length") == 10
    page.run("history.back()")
    page.wait_for(f"{HEADING} === 'Some clips to start from' && {PROGRESS} === '' && {N_RESULTS} > 1")
    assert page.complaints == []


def test_titles_are_text_however_long(page: Page, tmp_path: Path) -> None:
    mark = "<img src=x onerror=\"document.title='taken'\">" + "A" * 300
    make_release(tmp_path / "model", 20, dim=16, seed=1, mark=mark)
    with running(tmp_path, ["audiorec.cli", "serve", str(tmp_path / "model"), "--port", "0"]) as server:
        server.wait_until_ready()
        for width in (240, 390, 900):
            page.look(width, 700)
            page.open(f"http://127.0.0.1:{server.port}/")
            page.wait_for(f"{N_RESULTS} > 1")
            page.click(".result .links a")
            page.wait_for(f"{HEADING}.startsWith('Nearest to ') && {N_RESULTS} === 10")
            assert page.run(f"{HEADING}.includes({json.dumps(mark)}) && {FIRST}.includes({json.dumps(mark)})")
            assert page.run("document.title.includes('<img') && document.images.length === 0")
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), width
            assert page.run("innerWidth") == width
    assert page.complaints == []


def test_without_a_mouse(page: Page, server: Running) -> None:
    focused = "(document.activeElement.id || document.activeElement.className || document.activeElement.textContent)"

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            page.press("Tab", 9)
            if page.run(focused) == wanted:
                return
        raise AssertionError(f"no way to {wanted}: at {page.run(focused)}")

    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(f"{SHOWN} && {N_RESULTS} > 1 && !({BUSY})")
    page.run("document.querySelector('h1 a').focus()")
    for wanted in ("API", "file", "record", "random", "clip"):
        page.press("Tab", 9)
        assert page.run(focused) == wanted
    page.call("Input.insertText", text="b/clip 23.wav")
    page.press("Enter", 13, "\r")
    page.wait_for(f"{HEADING} === 'Nearest to Take 23' && {N_RESULTS} === 10")
    tab_to("play")
    page.press(" ", 32, " ")
    page.wait_for("document.querySelector('#playing').textContent === 'Take 23' && document.querySelector('audio').src")
    tab_to("More like this")
    page.press("Enter", 13, "\r")
    page.wait_for(f"{HEADING} !== 'Nearest to Take 23' && document.activeElement.id === 'asked'")
    tab_to("close-player")
    page.press("Enter", 13, "\r")
    assert page.run("document.querySelector('#player').hidden")
    nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    names = [node["name"]["value"] for node in nodes if node["role"]["value"] in SPOKEN]
    assert len(names) > 30
    assert all(names), names
    assert page.complaints == []


def test_an_answer_comes_into_view_and_gives_the_page_its_title(page: Page, server: Running) -> None:
    page.look(390, 400)
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    page.wait_for(f"document.title === 'audiorec' && {N_RESULTS} > 1")
    page.run("document.querySelector('#options').open = true")
    page.run("document.querySelector('#clip').focus()")
    page.call("Input.insertText", text="b/clip 23.wav")
    page.press("Enter", 13, "\r")
    in_view = "document.querySelector('#asked').getBoundingClientRect().top"
    page.wait_for(f"document.title === 'Take 23 · audiorec' && {in_view} >= 0 && {in_view} < 200")
    assert page.run("document.activeElement.id") == "clip"  # where one may go on typing

    page.run("document.querySelector('#k').focus()")
    page.wait_for(f"{in_view} > 200")
    page.call("Input.insertText", text="2")
    page.press("Enter", 13, "\r")
    page.wait_for(f"{N_RESULTS} === 2 && !({BUSY})")
    assert page.run(f"{in_view} > 200")  # and one may go on with the options
    page.run("location.hash = ''")
    page.wait_for(f"document.title === 'audiorec' && {HEADING} === 'Some clips to start from'")
    assert page.complaints == []


def test_back_to_where_one_was(page: Page, server: Running) -> None:
    page.look(900, 500)
    page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
    page.wait_for(f"{N_RESULTS} === 10 && !({BUSY})")
    page.run("document.querySelector('.result:nth-child(9)').scrollIntoView()")
    place = page.run("scrollY")
    page.click(".result:nth-child(9) .links a")
    page.wait_for(f"!{HEADING}.endsWith('Take 20') && !({BUSY}) && scrollY < {place} - 300")
    page.run("history.back()")
    page.wait_for(f"{HEADING}.endsWith('Take 20') && !({BUSY})")
    page.wait_for(f"Math.abs(scrollY - {place}) < 2")
    assert page.complaints == []


def test_nothing_found(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/#clip={ID}&filter=%7B%22label%22%3A%22wolf%22%7D")
    page.wait_for(f"{PROGRESS}.startsWith('0 clips in ') && {PROGRESS}.endsWith(': none passes the conditions')")
    assert page.run(f"{N_RESULTS} === 0 && {TOLD} === ''")
    assert page.complaints == []


def test_conditions(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    page.run("document.querySelector('#options').open = true")
    asked = "JSON.parse(new URLSearchParams(location.hash.slice(1)).get('filter'))"

    def set_condition(row: int, *values: str) -> None:
        fields = f"document.querySelectorAll('#conditions li:nth-child({row}) :is(select, input)')"
        page.run(f"""{fields}.forEach((field, at) => {{
            field.value = {json.dumps(values)}[at];
            field.dispatchEvent(new Event('change', {{ bubbles: true }}));
        }})""")

    page.click("#add-condition")
    assert page.run("document.activeElement.ariaLabel") == "Column"
    set_condition(1, "bpm", "is", "70; 71")  # a number before any answer has shown that it is one
    page.run(f"document.querySelector('#clip').value = '{ID}'")
    page.click("#clip-form button")
    page.wait_for(f"{N_RESULTS} === 2")
    assert page.run(asked) == {"bpm": [70, 71]}

    for row, value in ((2, "dog"), (3, "cat; hotdog")):
        page.click("#add-condition")
        set_condition(row, "label", "not", value)
    page.wait_for(f"{N_RESULTS} === 0")  # the two are of a dog and of a cat
    assert page.run(asked) == {"bpm": [70, 71], "label": {"not": ["dog", "cat", "hotdog"]}}

    valid = "document.querySelector('#options-form').checkValidity()"
    before = page.run("location.hash")
    set_condition(3, "label", "is", "cat")
    assert page.run(f"{valid} === false && document.activeElement.matches('#conditions li:nth-child(3) input')")
    page.run("document.querySelector('#clip').value = 'b/clip 23.wav'")
    page.click("#clip-form button")
    assert page.run("location.hash") == before  # rather than an answer that leaves a condition out
    page.click("#conditions li:nth-child(2) button")
    page.wait_for(f"{valid} && document.activeElement.id === 'add-condition' && {N_RESULTS} === 1")
    assert page.run(asked) == {"bpm": [70, 71], "label": "cat"}
    page.reload()
    page.wait_for(f"{N_RESULTS} === 1 && document.querySelectorAll('#conditions li').length === 2")
    assert page.run("document.querySelector('#options-told').textContent") == "2 conditions"
    assert page.complaints == []


def test_errors_are_told_in_words(page: Page, server: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    page.open(f"{url}#clip=nope")
    page.wait_for(f"{TOLD}.includes('got the clip id \\'nope\\'') && {TOLD}.includes('Request ')")
    (tmp_path / "noise.wav").write_bytes(b"<img src=x onerror=alert(1)>" * 100)
    page.choose_file("#file", tmp_path / "noise.wav")
    page.wait_for(f"{TOLD}.startsWith('got ') && !{TOLD}.includes('nope')")
    page.complaints.clear()  # the browser's own lines for answers 404 and 422


def test_a_service_that_goes_away_and_comes_back(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--clips-dir", str(catalogue.audio_dir), "--port"]
    (tmp_path / "later").mkdir()
    with running(tmp_path, [*command, "0"]) as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
        page.wait_for(f"{N_RESULTS} === 10")
        server.stop()
    page.click(".result:nth-child(2) .play")
    page.wait_for("document.querySelector('#playing').textContent === 'No answer came: the service may be down.'")
    page.click(".result:nth-child(2) .links a")
    page.wait_for(f"{TOLD}.startsWith('No answer came: the service may be down.') && !({BUSY})")
    page.choose_file("#file", catalogue.audio_dir / "a/clip 20.wav")
    page.wait_for(f"{TOLD}.includes('or has refused a file of this size.')")
    with running(tmp_path / "later", [*command, str(server.port)]) as server:
        server.wait_until_ready()
        page.click("#failure button")
        page.wait_for(f"{HEADING} === 'Nearest to clip 20.wav' && {N_RESULTS} === 10 && {TOLD} === ''")
    page.complaints.clear()  # the browser's own lines for connections that are refused


def test_too_many_questions(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0"]
    with running(tmp_path, command, AUDIOREC_RATE_LIMIT="1/hour") as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
        page.wait_for(f"{TOLD}.includes('got more than 1/hour requests')")
        hint = page.run("document.querySelector('#failure .hint').textContent")
        assert re.fullmatch(r"Try again in \d+ s\. Request \w+", hint)
        assert page.run("document.querySelector('#failure button').textContent") == "Try again"
    page.complaints.clear()  # the browser's own line for the answer 429


def test_another_release_between_two_questions(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    model_dir = copied(catalogue.model_dir, tmp_path / "model")
    command = ["audiorec.cli", "serve", str(model_dir), "--port", "0"]
    with running(tmp_path, command, AUDIOREC_SWAP_POLL_S="0.1") as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
        page.wait_for(f"{N_RESULTS} === 10")
        assert remove(model_dir, ["b/clip 21.wav"]).published
        wait_until(lambda: server.get("/ready")[2]["release"] == "0002")
        assert page.run(CATALOGUE).startswith("40 clips")
        page.click(".result .links a")
        page.wait_for(f"{CATALOGUE}.startsWith('39 clips') && {CATALOGUE}.endsWith('release 0002')")
        page.wait_for(f"{PROGRESS}.endsWith('release 0002') && {N_RESULTS} === 10")
    assert page.complaints == []


def test_a_key_is_asked_for_and_sent(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    keys_file = tmp_path / "keys.json"
    key = create_key(keys_file, "web", ["read"])
    command = [
        "audiorec.cli",
        "serve",
        str(catalogue.model_dir),
        "--port",
        "0",
        "--clips-dir",
        str(catalogue.audio_dir),
    ]
    with running(tmp_path, command, AUDIOREC_KEYS_FILE=str(keys_file)) as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/#clip={ID}")
        page.wait_for("!document.querySelector('#key-form').hidden")
        assert page.run(f"document.activeElement.id === 'key' && {TOLD} === ''")
        page.call("Input.insertText", text="a slip")
        page.press("Enter", 13, "\r")
        page.wait_for(f"{TOLD}.includes('got an API key that is unknown here') && document.activeElement.id === 'key'")
        page.run(f"document.querySelector('#key').value = '{key}'")
        page.click("#key-form button")
        page.wait_for(f"{N_RESULTS} === 10")
        page.click(".result .play")
        page.wait_for("document.querySelector('audio').duration > 0")
        assert page.run("document.querySelector('audio').src").startswith("blob:")
        assert page.run("localStorage.length") == 0
    page.complaints.clear()  # the browser's own line for the answer 401


def test_a_sound_from_words(page: Page, catalogue: Catalogue, tmp_path: Path) -> None:
    command = ["audiorec.cli", "serve", str(catalogue.model_dir), "--port", "0"]
    with making(catalogue, tmp_path) as maker:
        maker.generator.may_step.clear()
        environment = {f"AUDIOREC_{name.upper()}": value for name, value in maker.settings.items()}
        with running(tmp_path, command, **environment) as server:
            server.wait_until_ready()
            page.look(390, 500)
            page.open(f"http://127.0.0.1:{server.port}/")
            page.wait_for(f"{SHOWN} && !document.querySelector('#prompt-form').hidden && {N_RESULTS} > 1")
            page.run("document.querySelector('#prompt').value = 'rain on a tin roof'")
            page.click("#prompt-form button")
            page.wait_for(f"{MAKING} && !document.querySelector('#job').hidden && location.hash.startsWith('#job=')")
            assert page.run(HEADING) == "“rain on a tin roof”"
            assert page.run("document.title") == "“rain on a tin roof” · audiorec"
            assert page.run(
                f"document.querySelector('#cancel').getBoundingClientRect().bottom < innerHeight && !({BUSY})"
            )
            maker.generator.may_step.set()
            page.wait_for(f"{N_RESULTS} === 10 && document.querySelector('#job').hidden")
            assert page.run(HEADING) == "Nearest to “rain on a tin roof”"
            page.wait_for("document.querySelector('audio').duration === 1")
            maker.generator.may_step.clear()
            page.run("document.querySelector('#prompt').value = 'wind'")
            page.click("#prompt-form button")
            page.wait_for(MAKING)
            page.click("#cancel")
            page.wait_for(f"{PROGRESS} === 'Cancelling'")
            wait_until(lambda: maker.heart.is_cancelled)
            maker.generator.may_step.set()
            page.wait_for(f"{PROGRESS} === 'Cancelled'")
            assert page.run(HEADING) == "“wind”"
            state = "{ state: 'starting', facts: null, limits: {} }"
            page.run(f"import('./page/job.js').then((job) => job.describeGenerator({state}))")
            assert page.run("document.querySelector('#generator').textContent") == "The model is not ready yet"
            assert page.complaints == []


def test_a_text(page: Page, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips")
    built(tmp_path / "clips", tmp_path / "model", save_clap(tmp_path / "clap"))
    expected = [clip.clip_id for clip in Nearest(tmp_path / "model").search_text("rain & “dogs”", k=3)]
    (tmp_path / "served").mkdir()
    with running(tmp_path / "served", ["audiorec.cli", "serve", str(tmp_path / "model"), "--port", "0"]) as server:
        server.wait_until_ready()
        page.open(f"http://127.0.0.1:{server.port}/")
        page.wait_for(f"{SHOWN} && !document.querySelector('#text-form').hidden")
        page.run("document.querySelector('#k').value = 3; document.querySelector('#text').focus()")
        page.call("Input.insertText", text="rain & “dogs”")
        page.press("Enter", 13, "\r")
        page.wait_for(f"{HEADING} === 'Nearest to “rain & “dogs””' && {N_RESULTS} === 3")
        assert page.run("[...document.querySelectorAll('.result .title')].map((line) => line.textContent)") == expected
        link = page.run("location.href")
        page.open("about:blank#")
        page.open(link)
        page.wait_for(f"{N_RESULTS} === 3")
        assert page.run("document.querySelector('#text').value") == "rain & “dogs”"

        page.run("document.querySelector('#text').value = 'x'.repeat(64)")
        page.click("#text-form button")
        page.wait_for(f"{TOLD}.includes('expected at most 64')")
        page.complaints.clear()  # the browser's own line for the answer 422


def test_the_last_question_wins(page: Page, server: Running) -> None:
    page.open(f"http://127.0.0.1:{server.port}/")
    page.wait_for(SHOWN)
    page.run("""{
        const ask = window.fetch;
        const gate = new Promise((resolve) => { window.openGate = resolve; });
        window.late = [];
        window.fetch = (url, options) => {
            if (!options.body?.includes('clip 21')) return ask(url, options);
            const answer = gate.then(() => ask(url, options));
            late.push(answer.catch((error) => error.name));
            return answer;
        };
    }""")
    page.run("document.querySelector('#clip').value = 'b/clip 21.wav'")
    page.click("#clip-form button")
    page.wait_for("late.length === 1")
    assert page.run(BUSY)
    for number in (22, 21, 23):
        page.run(f"document.querySelector('#clip').value = '{'ab'[number % 2]}/clip {number}.wav'")
        page.click("#clip-form button")
        page.run("new Promise((resolve) => { setTimeout(resolve); })")  # the address has changed
    page.wait_for(f"{HEADING} === 'Nearest to Take 23' && {N_RESULTS} === 10 && !({BUSY})")
    page.run("openGate()")
    assert page.run("Promise.all(late)") == ["AbortError"] * 2
    assert page.run(HEADING) == "Nearest to Take 23"
    assert page.run(TOLD) == ""
    assert not page.run(BUSY)
    assert page.complaints == []
