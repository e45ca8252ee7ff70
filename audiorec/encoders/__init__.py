"""The encoders by name. Adding one: a file here, a line in ENCODERS."""

from audiorec.encoders.base import Encoder
from audiorec.encoders.mean_mel import MeanMel
from audiorec.encoders.mfcc import MFCC
from audiorec.errors import BadSetting

ENCODERS: dict[str, type[Encoder]] = {"MeanMel": MeanMel, "MFCC": MFCC}
BASELINES = ("MeanMel", "MFCC")
DEFAULT_ENCODER = "MFCC"


def make_encoder(name: str) -> Encoder:
    """A new encoder, not yet fitted. Raises BadSetting for a name that is not in ENCODERS."""
    if name not in ENCODERS:
        raise BadSetting(f"got encoder '{name}', expected one of {', '.join(sorted(ENCODERS))}")
    return ENCODERS[name]().eval()
