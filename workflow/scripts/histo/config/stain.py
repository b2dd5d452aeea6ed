"""Section `stain`: stain normalisation."""

from typing import Literal

from pydantic import Field

from histo.config.section import Section


class Stain(Section):
    method: Literal["none", "macenko"] = Field(
        "none", description="Stain normalisation of all tiles before training and prediction"
    )
