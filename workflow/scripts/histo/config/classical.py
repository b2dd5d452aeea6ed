"""Section `classical`: baselines on statistics of colour and texture."""

from typing import Annotated, Literal

from pydantic import Field

from histo.config.section import Section, Seed


class LogisticRegression(Section):
    method: Literal["logistic_regression"] = Field(description="Logistic regression")
    l2: float = Field(10, gt=0, description="Weight of the squared coefficients relative to the sum of the losses")


class RandomForest(Section):
    method: Literal["random_forest"] = Field(description="Random forest")
    n_estimators: int = Field(300, ge=1, le=10_000, description="Number of trees")
    min_samples_leaf: int = Field(5, ge=1, le=10_000, description="Smallest number of training tiles in a leaf")
    seed: Seed = Field(1, description="Seed of the forest")


Classical = Annotated[LogisticRegression | RandomForest, Field(discriminator="method")]
