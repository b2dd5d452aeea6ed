"""Write report.webp and tiles.webp, the pictures of the README: parts of the report of the demo, side by side.

`make pictures` runs this script after `make demo`. It needs Chromium.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "workflow" / "scripts")]

from support.browser import CHROMIUM, Browser  # noqa: E402

WIDTH, HEIGHT = 900, 1060  # of a column, CSS pixels
SCALE = 1.25  # pixels of the picture per CSS pixel
QUALITY = 82  # of WebP
# Of each picture the columns: page, and the element at whose top the column starts.
PICTURES = {
    "report": [("report.html", "header"), ("report.html", "#results .pair + .pair")],
    "tiles": [("report.html", "#errors"), ("report.html", "#tissue")],
}


def column(browser: Browser, page: Path, start: str) -> Image.Image:
    """Return the part of a page below the top of an element, as wide as the window."""
    browser.open(page, WIDTH)
    top = browser.run(f"document.querySelector('{start}').getBoundingClientRect().top - 12")
    clip = {"x": 0, "y": max(top, 0), "width": WIDTH, "height": HEIGHT, "scale": SCALE}
    found = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    return Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB")


def pictures(results: Path, output: Path) -> None:
    """Write the pictures of the pages in the folder `results` to the folder `output`."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        for name, parts in PICTURES.items():
            columns = [column(browser, results / page, start) for page, start in parts]
            picture = Image.new("RGB", (sum(one.width for one in columns), columns[0].height), "white")
            for k, one in enumerate(columns):
                picture.paste(one, (k * one.width, 0))
            picture.save(output / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    demo = ROOT / "results" / "demo"
    if CHROMIUM is None or not (demo / "report.html").is_file():
        sys.exit("Expected Chromium and results/demo/report.html. Install Chromium, run make demo.")
    pictures(demo, Path(__file__).parent)
