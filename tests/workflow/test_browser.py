"""The report in a real browser, offline."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from support.results import finished_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The proxy is a closed port, so that no request leaves the machine.
OFFLINE = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OFFLINE += [
    "--disable-background-networking",
    "--disable-component-update",
    "--proxy-server=127.0.0.1:9",
    "--hide-scrollbars",
]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (400, False), (1100, True)])
def test_the_page_shows_images_and_fits_the_window(tmp_path, width, dark):
    finished_run(tmp_path / "run").write_report()
    screenshot = tmp_path / "screenshot.png"
    options = [f"--window-size={width},3000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [CHROMIUM, *OFFLINE, f"--user-data-dir={tmp_path / 'profile'}", *options, f"--screenshot={screenshot}"]
    subprocess.run([*command, (tmp_path / "run/report.html").as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(screenshot).convert("RGB")).astype(int)
    assert pixels.shape == (3000, width, 3)
    corner = pixels[2, 2].mean()
    assert corner < 80 if dark else corner > 240
    # Tiles and charts have many colours, also in the lower half.
    assert len(np.unique(pixels[1500:].reshape(-1, 3), axis=0)) > 1000
    # The right margin is empty, so nothing is cut off.
    assert (np.abs(pixels[:, -3:] - pixels[2, 2]) < 12).all()
