"""Paths that may lead into a zip archive, as `archive.zip/test`."""

from pathlib import Path


def split_zip_path(path: str | Path) -> tuple[Path, str]:
    """Split a path at the archive that it leads into: `a/b.zip/test` → (`a/b.zip`, `test`).

    Any other path is returned as it is, with an empty second part.
    """
    path = Path(path)
    for parent in path.parents:
        if parent.suffix.lower() == ".zip" and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, ""
