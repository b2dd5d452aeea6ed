"""Faults of tiles: in every table, the column `fault` has one of these codes or is empty."""

FAULTS = {
    "missing_file": "listed in a table, but no file in the archive",
    "unlisted_file": "a file in the archive, but not listed in a table",
    "no_label": "no label in train_labels.csv",
    "bad_label": "a label that is not one of the classes",
    "repeated_id": "listed more than once",
    "empty_file": "a file of zero bytes",
    "unreadable": "cannot be decoded as an image",
    "wrong_size": "another size than the other tiles",
    "wrong_mode": "not three channels of 8 bits",
    "sha1_differs": "SHA-1 of the pixels differs from the id",
    "conflicting_copies": "same pixels as a tile with another id and another label",
}
