"""Section `folds`: the folds of cross-validation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from histo.config.section import Section, Seed, UserPath


class Folds(Section):
    count: int = Field(5, ge=2, le=100, description="Number of folds")
    by: Literal["groups", "stain"] = Field(
        "groups", description="Groups are assigned to folds at random, or those of similar stain to one fold"
    )
    also_by_stain: bool = Field(
        False, description="Train and evaluate the networks on folds by stain too, for the AUC at a new laboratory"
    )
    seed: Seed = Field(1, description="Seed of the assignment of groups to folds")
    fraction: float = Field(
        1.0, gt=0, le=1, description="Fraction of the training tiles that is used, in whole groups; for quick trials"
    )
    slides: UserPath | None = Field(
        None,
        description="CSV with the columns id,slide: tiles of one slide stay in one fold. Overlapping tiles always do",
    )

    @model_validator(mode="after")
    def _two_kinds(self) -> Self:
        if self.also_by_stain and self.by == "stain":
            raise ValueError("also_by_stain needs by: groups; the folds are by stain already.")
        return self
