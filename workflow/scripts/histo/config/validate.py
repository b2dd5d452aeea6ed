"""Section `validate`: the checks of each tile."""

from pydantic import Field

from histo.config.section import Section


class Validate(Section):
    id_is_sha1: bool = Field(True, description="A tile's id must be the SHA-1 of its pixels, as in this competition")
