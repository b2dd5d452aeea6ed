"""Section `submit`: sending the submission to Kaggle."""

from pydantic import Field

from histo.config.section import Section


class Submit(Section):
    message: str = Field("", max_length=300, description="Description of the submission on Kaggle")
    again: bool = Field(False, description="Send the same file once more")
    patience: float = Field(900, ge=0, le=86_400, description="Seconds to wait for the score")
