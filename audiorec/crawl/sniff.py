"""What the first bytes of a file tell: its extension, or that it cannot be sound, before the rest is fetched."""

import re
from pathlib import Path

from audiorec.crawl.failures import CrawlFailure
from audiorec.errors import BadSetting
from audiorec.quoting import quoted

HEAD_BYTES = 512
UNKNOWN_EXTENSION = ".audio"
MAGIC: tuple[tuple[int, bytes, str], ...] = (  # offset, bytes there, extension
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (8, b"WAVE", ".wav"),
    (8, b"AIFF", ".aiff"),
    (8, b"AIFC", ".aiff"),
    (8, b"AVI ", ".avi"),
    (4, b"ftypM4A", ".m4a"),
    (4, b"ftyp3gp", ".3gp"),
    (4, b"ftypqt", ".mov"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".webm"),
    (0, b"0&\xb2u\x8ef\xcf\x11", ".wma"),
    (0, b"caff", ".caf"),
    (0, b".snd", ".au"),
    (0, b"#!AMR", ".amr"),
    (0, b"FLV\x01", ".flv"),
    (0, b"wvpk", ".wv"),
    (0, b"MAC ", ".ape"),
    (0, b"NIST_1A\n", ".sph"),
)
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body|script|!--)", re.IGNORECASE)
_PLAYLIST = re.compile(rb"\s*(#EXTM3U|\[playlist\]|<asx|<(\?xml[^>]*>\s*<)?playlist)", re.IGNORECASE)
_FEED = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<\?xml-stylesheet[^>]*>\s*)*<(rss|feed|rdf:RDF)\b", re.DOTALL
)
_BOM = b"\xef\xbb\xbf"
_BOM_UTF16 = b"\xff\xfe"  # the beginning of an MPEG frame as well


def extension_of(head: bytes) -> str:
    """The usual extension of a sound file that begins with these bytes."""
    if head.startswith(b"OggS") and b"OpusHead" in head[:64]:
        return ".opus"
    for offset, magic, extension in MAGIC:
        if head.startswith(magic, offset):
            return extension
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # an MPEG frame; layer 0 is AAC
        return ".mp3" if head[1] & 0x06 else ".aac"
    return UNKNOWN_EXTENSION


def is_feed(head: bytes) -> bool:
    return _FEED.match(head.removeprefix(_BOM)) is not None


def is_web_page(head: bytes) -> bool:
    return _WEB_PAGE.match(head.removeprefix(_BOM)) is not None


def is_text(head: bytes) -> bool:
    """Whether it is UTF-8 without control characters; the last character may be cut."""
    if head.startswith(b"NIST_1A\n"):  # the one sound format whose header is text
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return bool(text) and all(char.isprintable() or char in "\r\n\t\f\ufeff" for char in text)


def refuse_text(head: bytes) -> None:
    """Raises CrawlFailure for the beginning of something that people or programs read, and nobody hears."""
    if is_web_page(head):
        code, what = "web_page", "a web page"
    elif _PLAYLIST.match(head.removeprefix(_BOM)):
        code, what = "playlist", "a playlist"
    elif is_feed(head):
        code, what = "playlist", "a feed"
    elif is_text(head):
        code, what = "text", "text"
    else:
        return
    raise CrawlFailure(f"got {what}, expected sound", code=code)


def refuse_sound(path: Path) -> None:
    """Raises BadSetting for a single sound where a folder or a list of sounds is meant. What cannot be read is none."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return
    if extension_of(head) != UNKNOWN_EXTENSION and not head.startswith(_BOM_UTF16):
        raise BadSetting(
            f"got {quoted(path.name)}, a sound, expected a folder of sounds, or a list of them: "
            "name the folder that it lies in"
        )
