"""audiorec: a self-hosted "more like this" service for audio."""

__version__ = "0.1.0"
