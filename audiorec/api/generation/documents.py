"""What the OpenAPI document says of sounds that are made, beside what the routes say themselves."""

from audiorec.api.generation.callers import TOKEN_HEADER
from audiorec.api.generation.routes import MAX_WAIT_S
from audiorec.generate.sound import FORMATS

GENERATE_EXAMPLES = {
    "words": {
        "summary": "words alone",
        "value": {"prompt": "fast bachata with bright guitar", "k": 5},
    },
    "all": {
        "summary": "everything said: asked twice, it is made once",
        "value": {
            "prompt": "fast bachata with bright guitar",
            "seconds": 8,
            "steps": 20,
            "guidance": 3.5,
            "negative_prompt": "speech, noise",
            "seed": 7,
            "k": 10,
            "max_per_artist": 1,
            "filter": {"duration_s": {"gte": 0.5}},
        },
    },
}
WAIT_PARAMETER = {
    "name": "wait",
    "in": "query",
    "description": "seconds to wait for the end of the job before it is answered",
    "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
    "example": 30,
}
TOKEN_PARAMETER = {
    "name": TOKEN_HEADER,
    "in": "header",
    "description": "without API keys: 16 to 200 characters that only you know, the same for all requests about a job",
    "schema": {"type": "string", "minLength": 16, "maxLength": 200},
}
FORMAT_PARAMETER = {
    "name": "format",
    "in": "query",
    "description": "of the file",
    "schema": {"type": "string", "enum": list(FORMATS), "default": "wav"},
}
