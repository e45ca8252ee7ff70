"""All routes of the service, in the order in which they are tried."""

from audiorec.api.classification import router as classification
from audiorec.api.clip_sounds import router as clip_sounds
from audiorec.api.generation.routes import router as generation
from audiorec.api.page import router as page
from audiorec.api.routes import router as questions

ROUTERS = (clip_sounds, questions, page, classification, generation)  # sounds before clips, whose ids may hold slashes
