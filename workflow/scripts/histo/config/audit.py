"""Section `audit`: which tiles are used."""

from typing import Annotated, Literal

from pydantic import Field

from histo.config.section import Section, Unique


class Audit(Section):
    on_fault: Literal["fail", "leave_out"] = Field(
        "fail", description="At a faulty tile: end the run, or exclude the tile"
    )
    leave_out: Annotated[list[Literal["blank", "black", "blurred"]], Unique] = Field(
        [], description="Intact training tiles to exclude, by quality flag"
    )
