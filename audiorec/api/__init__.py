"""The HTTP service: what `uvicorn --factory audiorec.api.app:create_app` runs."""
