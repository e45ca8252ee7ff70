"""Styles of music by name."""

from collections.abc import Mapping

from audiorec.training.corpus.styles import acoustic, electronic, latin, popular
from audiorec.training.corpus.styles.style import Style

STYLES: Mapping[str, Style] = {**latin.STYLES, **popular.STYLES, **electronic.STYLES, **acoustic.STYLES}
