"""Section `imagenet_weights`: where pretrained weights are downloaded from."""

from pydantic import Field

from histo.config.section import Section, Url


class ImagenetWeights(Section):
    address: Url = Field(
        "https://download.pytorch.org/models", description="Folder of torchvision's weights files, or a mirror of it"
    )
