"""Section `download`: the archive from Kaggle."""

from pydantic import Field

from histo.config.section import Md5, Section


class Download(Section):
    md5: Md5 | None = Field(None, description="MD5 of the archive, 32 hexadecimal digits; null: not compared")
