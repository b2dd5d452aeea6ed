"""Section `kaggle`: the competition, for the rules download, submit and scores."""

from pydantic import Field

from histo.config.section import Section


class Kaggle(Section):
    competition: str = Field(
        "histopathologic-cancer-detection",
        pattern="^[a-z0-9][a-z0-9-]*$",
        description="Last part of the competition's address",
    )
