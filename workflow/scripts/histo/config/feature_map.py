"""Section `feature_map`: how the features of a network are mapped."""

from typing import Literal

from pydantic import Field

from histo.config.section import Section


class FeatureMap(Section):
    method: Literal["pca", "umap"] = Field(
        "pca", description="pca: principal components; umap: UMAP of umap-learn, which is installed separately"
    )
