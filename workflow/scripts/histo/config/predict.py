"""Section `predict`: test-time augmentation."""

from typing import Literal

from pydantic import Field

from histo.config.section import Section


class Predict(Section):
    tta: Literal["none", "flips", "all"] = Field(
        "all", description="Test-time augmentation: 1 view, 4 flips, or 8 flips and 90° rotations of each tile"
    )
    average: Literal["logits", "probabilities"] = Field("logits", description="What is averaged over the views")
