"""Section `submission`: which models are blended, and how."""

from typing import Annotated, Literal

from pydantic import Field

from histo.config.section import Section, Unique


class Submission(Section):
    models: Annotated[list[str], Unique] = Field(["lite0"], min_length=1, description="Models that are blended")
    method: Literal["mean", "rank_mean", "weights"] = Field(
        "mean",
        description="Mean of the probabilities, mean of their ranks, or mean with blend weights fitted out-of-fold",
    )
    full_networks: int = Field(
        0,
        ge=0,
        le=100,
        description="Networks per model that are trained on all training tiles, with different seeds, and predict the "
        "test tiles; 0: the networks of the folds predict them",
    )
