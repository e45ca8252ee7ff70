"""The OpenAPI document: what the routes cannot say themselves, with examples from the open release that work."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from audiorec.api.access import JOBS_FOLDER, scope_of
from audiorec.api.classification import CLASSIFY_PATH, ClassifyQuery
from audiorec.api.clip_sounds import SOUND_PATH
from audiorec.api.generation.documents import (
    FORMAT_PARAMETER,
    GENERATE_EXAMPLES,
    TOKEN_PARAMETER,
    WAIT_PARAMETER,
)
from audiorec.api.generation.schemas import GenerateQuery
from audiorec.api.opened import Opened
from audiorec.api.schemas import Batch, NearestQuery, Options
from audiorec.release import Release
from audiorec.settings import Settings

REFERENCE = "#/components/schemas/{model}"
EXAMPLE_DIGITS = 4
SECRET_ID = "the id of a clip"  # where clips are shown to those with a key, and the document to everybody
KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "X-API-Key: KEY"},
}
SOUND = {"schema": {"type": "string", "format": "binary"}}
SOUND_BODIES = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        }
    },
    **dict.fromkeys(("audio/*", "video/*", "application/octet-stream"), SOUND),
}


def document(app: FastAPI, opened: Opened) -> dict[str, Any]:
    """Made for a release and the settings: its dimension, its clips and whether it knows texts, the largest k."""
    release = opened.release
    range_of_k = {"minimum": 1, "maximum": opened.settings.max_k}
    openapi = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = openapi["components"]["schemas"]
    for model in (NearestQuery, Batch):
        schemas[model.__name__] = model.model_json_schema(ref_template=REFERENCE)
    properties = schemas[NearestQuery.__name__]["properties"]
    properties["k"] |= range_of_k
    properties["text"] |= {"maxLength": opened.settings.max_text_chars}
    if not release.has_text:
        properties["text"] |= {"description": f"answered 422: {release.manifest.encoder.name} has no text encoder"}
    clip_id, examples = _examples(release, is_secret=opened.settings.keys_file is not None)
    paths = openapi["paths"]
    by_json = {"schema": _reference(NearestQuery), "examples": examples}
    paths["/nearest"]["post"]["requestBody"] = _body({"application/json": by_json, **SOUND_BODIES})
    paths["/nearest"]["post"]["parameters"] = _option_parameters(range_of_k)
    paths["/embed"]["post"]["requestBody"] = _body(SOUND_BODIES)
    schemas[ClassifyQuery.__name__] = ClassifyQuery.model_json_schema(ref_template=REFERENCE)
    by_clip = {"schema": _reference(ClassifyQuery), "example": {"clip_id": clip_id}}
    paths[CLASSIFY_PATH]["post"]["requestBody"] = _body({"application/json": by_clip, **SOUND_BODIES})
    queries = [example["value"] for example in examples.values()]
    batch = {"schema": _reference(Batch), "example": {"queries": queries}}
    paths["/nearest/batch"]["post"]["requestBody"] = _body({"application/json": batch})
    for path in ("/clips/{clip_id}", SOUND_PATH):
        paths[path]["get"]["parameters"][0]["example"] = clip_id
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    schemas[GenerateQuery.__name__] = GenerateQuery.model_json_schema(ref_template=REFERENCE)
    schemas[GenerateQuery.__name__]["properties"]["k"] |= range_of_k
    by_words = {"schema": _reference(GenerateQuery), "examples": GENERATE_EXAMPLES}
    paths["/generate"]["post"]["requestBody"] = _body({"application/json": by_words})
    paths["/generate"]["post"]["parameters"] = [WAIT_PARAMETER, TOKEN_PARAMETER]
    for path in (path for path in paths if path.startswith(JOBS_FOLDER)):
        for operation in paths[path].values():
            operation["parameters"].append(TOKEN_PARAMETER)
    paths["/jobs/{job_id}/audio"]["get"]["parameters"].append(FORMAT_PARAMETER)
    if opened.settings.keys_file is not None:
        _ask_for_keys(openapi, opened.settings)
    return openapi


def _ask_for_keys(openapi: dict[str, Any], settings: Settings) -> None:
    """Each operation with the scope that it needs; /docs then has a button to give a key."""
    openapi["components"]["securitySchemes"] = KEY_SCHEMES
    for path, operations in openapi["paths"].items():
        scope = scope_of(path, open_metrics=settings.open_metrics)
        for operation in operations.values() if scope else ():
            operation["security"] = [{scheme: [scope]} for scheme in KEY_SCHEMES]


def _reference(model: type[Any]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _examples(release: Release, *, is_secret: bool) -> tuple[str, dict[str, dict[str, Any]]]:
    """(clip id, queries) that answer when pressed, by the first clip; of a secret catalogue, only their form."""
    clip_id = SECRET_ID if is_secret else release.metadata.clip_id(0)
    vector = [1.0] * release.dim if is_secret else [round(x, EXAMPLE_DIGITS) for x in release.embeddings[0].tolist()]
    examples = {
        "clip_id": {"summary": "a clip of the catalogue", "value": {"clip_id": clip_id, "k": 5}},
        "embedding": {"summary": f"a vector of {release.dim} numbers", "value": {"embedding": vector, "k": 5}},
        "filter": {
            "summary": "with conditions",
            "value": {"clip_id": clip_id, "k": 5, "filter": {"duration_s": {"gte": 0.5}}, "max_per_artist": 1},
        },
    }
    if release.has_text:
        examples["text"] = {"summary": "what a clip sounds like", "value": {"text": "rain on a tin roof", "k": 5}}
    return clip_id, examples


def _option_parameters(range_of_k: dict[str, int]) -> list[dict[str, Any]]:
    """The options as query parameters, for a sound; `filter` is JSON in a string there."""
    schemas: dict[str, dict[str, Any]] = {
        "k": {"type": "integer", **range_of_k},
        "filter": {"type": "string"},
        "exclude": {"type": "array", "items": {"type": "string"}},
        "max_per_artist": {"type": "integer", "minimum": 1},
    }
    return [
        {"name": name, "in": "query", "description": field.description, "schema": schemas[name]}
        for name, field in Options.model_fields.items()
    ]
