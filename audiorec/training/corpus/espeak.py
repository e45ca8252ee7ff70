"""espeak-ng through ctypes: text to speech."""

import ctypes
import ctypes.util
from functools import cache

import numpy as np
import numpy.typing as npt

from audiorec.errors import BadSetting

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: no threads, sound by callback
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
UTF8 = 1

Sound = npt.NDArray[np.float32]
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """espeak-ng in this process. It is one for all: the library keeps global state."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise BadSetting("got no libespeak-ng, expected it to be installed: apt-get install espeak-ng")
        self._library = ctypes.CDLL(name)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.rate_hz: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0)
        if self.rate_hz <= 0:
            raise BadSetting("got an espeak-ng without its data, expected both: apt-get install espeak-ng-data")
        self._said: list[npt.NDArray[np.int16]] = []
        self._callback = Callback(self._hear)
        self._library.espeak_SetSynthCallback(self._callback)
        self._libc = ctypes.CDLL(None)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", n_samples: int, events: int | None) -> int:
        if samples and n_samples > 0:
            self._said.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int, pitch_range: int) -> Sound:
        """(n_samples,) at rate_hz. voice: as "en-us+f3". Raises BadSetting for a voice that is not there."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise BadSetting(f"got voice {voice}, expected one of espeak-ng's: apt-get install espeak-ng-data")
        for parameter, value in ((RATE, words_per_minute), (PITCH, pitch), (RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._said.clear()
        self._libc.srand(1)  # what is noise in a voice is drawn by C's rand, which other libraries call as well
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, UTF8, None, None)
        if not self._said:
            return np.zeros(0, np.float32)
        return np.concatenate(self._said).astype(np.float32) / np.float32(32768)


@cache
def speaker() -> Speaker:
    """The one of this process."""
    return Speaker()
