"""Section `track`: where trainings are logged beside the results."""

from pydantic import Field

from histo.config.section import Section


class Track(Section):
    mlflow: str | None = Field(
        None,
        pattern=r"^(sqlite:///|https?://)[^@\s]+$",
        description="Tracking URI of MLflow, `sqlite:///mlflow.db` or a server, without credentials; null: off",
    )
