"""Section `overlaps`: the search for tiles that share tissue."""

from typing import Literal

from pydantic import Field

from histo.config.section import Section


class Overlaps(Section):
    pixels: Literal["auto", "exact", "lossy"] = Field(
        "auto",
        description="Shared pixels are equal (exact), or equal but for the edges of JPEG's blocks (lossy); "
        "auto: decided by trying both on up to 20,000 tiles",
    )
