"""The OpenAPI document: what the routes cannot say themselves, with examples from the open release that work."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from audiorec.api.schemas import Batch, NearestQuery, Options
from audiorec.api.service import Service
from audiorec.release import Release

REFERENCE = "#/components/schemas/{model}"
EXAMPLE_DIGITS = 4
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


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """Made for the open release and the settings: its dimension and its clips, the largest k."""
    release = service.nearest.release
    range_of_k = {"minimum": 1, "maximum": service.settings.max_k}
    openapi = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = openapi["components"]["schemas"]
    for model in (NearestQuery, Batch):
        schemas[model.__name__] = model.model_json_schema(ref_template=REFERENCE)
    schemas[NearestQuery.__name__]["properties"]["k"] |= range_of_k
    first_clip = release.metadata.clip_id(0)
    paths = openapi["paths"]
    by_json = {"schema": _reference(NearestQuery), "examples": _examples(release, first_clip)}
    paths["/nearest"]["post"]["requestBody"] = _body({"application/json": by_json, **SOUND_BODIES})
    paths["/nearest"]["post"]["parameters"] = _option_parameters(range_of_k)
    paths["/embed"]["post"]["requestBody"] = _body(SOUND_BODIES)
    queries = [example["value"] for example in _examples(release, first_clip).values()]
    batch = {"schema": _reference(Batch), "example": {"queries": queries}}
    paths["/nearest/batch"]["post"]["requestBody"] = _body({"application/json": batch})
    paths["/clips/{clip_id}"]["get"]["parameters"][0]["example"] = first_clip
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return openapi


def _reference(model: type[Any]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _examples(release: Release, clip_id: str) -> dict[str, dict[str, Any]]:
    """Embedding and clip id of the first clip: they answer when pressed."""
    vector = [round(x, EXAMPLE_DIGITS) for x in release.embeddings[0].tolist()]
    return {
        "clip_id": {"summary": "a clip of the catalogue", "value": {"clip_id": clip_id, "k": 5}},
        "embedding": {"summary": f"a vector of {release.dim} numbers", "value": {"embedding": vector, "k": 5}},
        "filter": {
            "summary": "with conditions",
            "value": {"clip_id": clip_id, "k": 5, "filter": {"duration_s": {"gte": 0.5}}, "max_per_artist": 1},
        },
    }


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
