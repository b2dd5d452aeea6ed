"""What can be wrong with a tile: in every table, the column `fault` holds one of these codes or is empty."""

FAULTS = {
    "missing_file": "listed in a table, no file in the archive",
    "unlisted_file": "in the archive, listed in no table",
    "no_label": "no label in train_labels.csv",
    "bad_label": "a label other than 0 and 1",
    "repeated_id": "listed more than once",
    "empty_file": "a file of zero bytes",
    "unreadable": "does not decode as an image",
    "wrong_size": "not 96 × 96 pixels",
    "wrong_mode": "not three channels of 8 bits",
    "sha1_differs": "pixels do not have the SHA-1 that the id states",
    "conflicting_copies": "equal pixels under another id with another label",
}
