"""Hook of mkdocs.yml: the pages of the site are the Markdown files of the repository, at their paths there."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "bench/*.md", "docs/*.md")
PICTURES = ("docs/*.webp", "docs/*.png", "docs/*.svg")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the theme, and the pages and pictures in the place of those that lie in `docs_dir`."""
    found = [file for file in files if not (file.src_dir and Path(file.src_dir) == Path(config.docs_dir))]
    paths = sorted(path for pattern in (*PAGES, *PICTURES) for path in ROOT.glob(pattern))
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        found.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return Files(found)
