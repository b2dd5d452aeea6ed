"""Section `classical`: baselines on statistics of colour and texture."""

from typing import Annotated, Any, Literal

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


class Estimator(Section):
    method: Literal["estimator"] = Field(description="Any classifier of scikit-learn, on standardised statistics")
    estimator: str = Field(
        pattern=r"^sklearn(\.[A-Za-z_]\w*)+$", description="Its dotted name, `sklearn.svm.SVC` for instance"
    )
    options: dict[str, Any] = Field({}, description="Its keyword arguments")
    seed: Seed = Field(1, description="Its `random_state`, if it has one")


Classical = Annotated[LogisticRegression | RandomForest | Estimator, Field(discriminator="method")]
