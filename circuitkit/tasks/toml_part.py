"""What all tables of a task file have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1)]
KIND_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
KindName = Annotated[str, StringConstraints(pattern=KIND_NAME)]
SlotName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Part(BaseModel):
    """Base of every table in a task file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
