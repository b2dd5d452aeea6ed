"""The report in a real browser, offline."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_report import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# It looks for nothing outside: whatever it still asks for ends at a closed port of this machine.
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
def test_it_shows_pictures_and_fits_the_window(tmp_path, width, dark):
    Run(tmp_path / "run").write()
    shot = tmp_path / "shot.png"
    options = [f"--window-size={width},3000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [CHROMIUM, *OFFLINE, f"--user-data-dir={tmp_path / 'profile'}", *options, f"--screenshot={shot}"]
    subprocess.run([*command, (tmp_path / "run/report.html").as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (3000, width, 3)
    corner = pixels[2, 2].mean()
    assert corner < 80 if dark else corner > 240
    # Tiles and charts: many colours, also in the lower half.
    assert len(np.unique(pixels[1500:].reshape(-1, 3), axis=0)) > 1000
    # Nothing is cut off at the right: the margin there is bare.
    assert (np.abs(pixels[:, -3:] - pixels[2, 2]) < 12).all()
