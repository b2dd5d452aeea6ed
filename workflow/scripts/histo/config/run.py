"""Section `run`: experiments beside each other."""

from pydantic import Field

from histo.config.section import Name, Section


class Run(Section):
    name: Name | None = Field(
        None, description="All results but the shards lie under results/<dataset.name>/runs/<run.name>/ if it is set"
    )
