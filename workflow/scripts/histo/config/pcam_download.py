"""Section `pcam_download`: the files of PatchCamelyon."""

from pydantic import Field

from histo.config.section import Md5, Section, Url


class Md5s(Section):
    train_x: Md5 = Field("1571f514728f59376b705fc836ff4b63", description="MD5 of the training tiles")
    train_y: Md5 = Field("35c2d7259d906cfc8143347bb8e05be7", description="MD5 of the training labels")
    valid_x: Md5 = Field("d5b63470df7cfa627aeec8b9dc0c066e", description="MD5 of the validation tiles")
    valid_y: Md5 = Field("2b85f58b927af9964a4c15b8f7e8f179", description="MD5 of the validation labels")
    test_x: Md5 = Field("d8c2d60d490dbd479f8199bdfa0cf6ec", description="MD5 of the test tiles")
    test_y: Md5 = Field("60a7035772fbdb7f34eb86d4420cf66a", description="MD5 of the test labels")


class PcamDownload(Section):
    address: Url = Field("https://zenodo.org/records/2546921/files", description="Folder of the six files")
    md5: Md5s = Field(Md5s(), description="MD5 of each file, as its authors state it")
