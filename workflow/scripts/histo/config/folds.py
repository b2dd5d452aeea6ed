"""Section `folds`: the folds of cross-validation."""

from typing import Literal

from pydantic import Field

from histo.config.section import Section, Seed, UserPath


class Folds(Section):
    count: int = Field(5, ge=2, le=100, description="Number of folds")
    by: Literal["groups", "stain"] = Field(
        "groups", description="Groups are assigned to folds at random, or those of similar stain to one fold"
    )
    seed: Seed = Field(1, description="Seed of the assignment of groups to folds")
    fraction: float = Field(
        1.0, gt=0, le=1, description="Fraction of the training tiles that is used, in whole groups; for quick trials"
    )
    slides: UserPath | None = Field(
        None,
        description="CSV with the columns id,slide: tiles of one slide stay in one fold. Overlapping tiles always do",
    )
