"""The report in a real browser, offline: appearance, script, files and printing."""

import re
import subprocess
import time
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histo.files import read_json
from support.browser import CHROMIUM, OFFLINE, Browser
from support.results import finished_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

MODELS = "#results > .scroll table"
ERRORS = "#errors .tiles"  # the first gallery, false positives
ROC = "#results .pair + .pair .chart:first-child"


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
    assert len(np.unique(pixels[1500:].reshape(-1, 3), axis=0)) > 100
    # The right margin is empty, so nothing is cut off.
    assert (np.abs(pixels[:, -3:] - pixels[2, 2]) < 12).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two models with two folds each, and their report."""
    run = finished_run(tmp_path_factory.mktemp("run"))
    run.write_report()
    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(run, browser):
    """The browser with the report, 1400 pixels wide; at the end, nothing was requested and nothing complained of."""
    path = run.folder / "report.html"
    browser.open(path, 1400)
    yield browser
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("blob:")] == [path.as_uri()]


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_overflows_and_every_picture_is_decoded(page, run, width):
    page.open(run.folder / "report.html", width)
    assert page.run("document.documentElement.scrollWidth") == width
    sizes = page.run(
        "Promise.all([...document.querySelectorAll('image:not(.painted)')].map(async (image) => "
        "{ const copy = new Image(); copy.src = image.getAttribute('href'); await copy.decode(); "
        "return copy.naturalWidth; }))"
    )
    assert sizes == page.run(
        "[...document.querySelectorAll('image:not(.painted)')].map((image) => Number(image.getAttribute('width')))"
    )
    assert len(sizes) == 6  # errors of both kinds, a mosaic, tiles of both labels, a faulty tile
    # A tile is shown at twice its size, with its pixels as they are.
    assert page.run(f"getComputedStyle(document.querySelector('{ERRORS} .tile svg')).imageRendering") == "pixelated"
    side = page.run(f"document.querySelector('{ERRORS} .tile svg').getBoundingClientRect().width")
    assert side == 192 if width == 1400 else 150 < side < 192
    # Boxes that scroll can be reached by keyboard, others need no stop.
    boxes = "[...document.querySelectorAll('.scroll')].filter((box) => box.getClientRects().length)"
    scrolls = page.run(f"{boxes}.map((box) => box.scrollWidth > box.clientWidth)")
    assert page.run(f"{boxes}.map((box) => box.tabIndex === 0)") == scrolls
    assert any(scrolls) == (width == 390)


def names_in(page, table):
    return page.run(f"[...document.querySelector('{table}').tBodies[0].rows].map((row) => row.cells[0].textContent)")


def test_tables_sort_by_mouse_and_keyboard(page, run):
    by_auc = sorted((read_json(path) for path in run.inputs.evaluations), key=lambda row: row["auc"])
    names = [row["model"] for row in by_auc]
    header = f"{MODELS} th:nth-child(2)"
    order = f"document.querySelector('{header}').getAttribute('aria-sort')"
    assert names_in(page, MODELS) == ["small", "wide", "ensemble"] and page.run(order) is None
    page.click(f"{header} button")
    assert (names_in(page, MODELS), page.run(order)) == ([*names, "ensemble"], "ascending")
    page.run(f"document.querySelector('{header} button').focus()")
    page.press("Enter")
    assert (names_in(page, MODELS), page.run(order)) == ([*names[::-1], "ensemble"], "descending")
    page.click(f"{MODELS} th button")
    assert (names_in(page, MODELS), page.run(order)) == (["small", "wide", "ensemble"], None)


def visible(page):
    return page.run(
        f"[...document.querySelector('{ERRORS}').querySelectorAll('.tile:not([hidden])')]"
        ".map((tile) => tile.querySelector('code').textContent)"
    )


def test_galleries_filter_by_what_is_typed(page):
    ids = visible(page)
    assert len(ids) >= 4
    page.click("#errors .filter input")
    page.type(ids[2])
    assert visible(page) == [ids[2]]
    assert page.run("document.querySelector('#errors .filter output').textContent") == f"1 of {len(ids)} tiles"
    page.run("document.activeElement.select()")
    page.type("fold 1")
    folds = page.run(f"[...document.querySelectorAll('{ERRORS} b')].map((text) => text.textContent.includes('fold 1'))")
    first = folds[: len(ids)]
    assert visible(page) == [name for name, found in zip(ids, first, strict=True) if found] != ids


def test_tiles_enlarge_by_mouse_and_keyboard(page):
    ids = visible(page)
    opener = f"{ERRORS} .tile:nth-of-type(1) .open"
    state = "[document.querySelector('dialog').open, document.querySelector('dialog code')?.textContent]"
    page.click(opener)
    assert page.run(state) == [True, ids[0]]
    side = "document.querySelector('dialog .stage svg').getBoundingClientRect().width"
    assert page.run(side) == 576
    page.press("ArrowRight")
    assert page.run(state) == [True, ids[1]]
    page.press("ArrowLeft", "ArrowLeft")
    assert page.run(state) == [True, ids[-1]]
    page.press("Escape")
    assert page.run(state)[0] is False
    page.run(f"document.querySelector('{opener}').focus()")
    page.press("Enter")
    assert page.run(state) == [True, ids[0]]
    page.click("dialog button[aria-label='Next tile']")
    assert page.run(state) == [True, ids[1]]
    frame = "getComputedStyle(document.querySelector('dialog rect')).display"
    assert page.run(frame) != "none"
    page.click("dialog button[aria-label^='Show or hide']")
    assert page.run(frame) == "none"
    page.press("Escape")
    assert page.run(f"document.activeElement === document.querySelector('{opener}')")


def test_charts_show_values_and_hide_series(page, run):
    ensemble = read_json(run.inputs.ensemble)
    tip = "[document.querySelector('.tip').hidden, document.querySelector('.tip').textContent]"
    svg = f"{ROC} > svg:not(.part)"
    assert page.run(tip)[0] is True
    page.move(svg, 0.98, 0.03)  # the upper right corner, where all curves end
    hidden, text = page.run(tip)
    assert not hidden and text.endswith("false positive rate 1, true positive rate 1")
    page.move(svg, 0.6, 0.8)
    assert page.run(tip)[0] is True
    shown = f"[...document.querySelectorAll('{svg} .series')].map((series) => series.getClientRects().length > 0)"
    assert page.run(shown) == [True] * 3
    page.click(f"{ROC} .legend li:nth-child(3) button")
    assert page.run(shown) == [True, True, False]
    assert page.run(f"document.querySelectorAll('{ROC} .legend button')[2].getAttribute('aria-pressed')") == "false"
    page.press(" ")
    assert page.run(shown) == [True] * 3
    names = page.run(f"[...document.querySelectorAll('{svg} .series')].map((series) => series.dataset.name)")
    assert names[2] == f"ensemble ({ensemble['auc']:.4f})"


def saved(folder, name):
    """The file of this name, once it is complete."""
    end = time.monotonic() + 60
    while not (folder / name).exists():
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.1)
    return folder / name


def tool(name):
    """The button of the ROC chart with this text."""
    return f"{ROC} .tools button:nth-child({1 + ['Zoom', 'SVG', 'PNG', 'CSV'].index(name)})"


def test_charts_are_saved_as_svg_png_and_csv(page, run, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    file = "roc-curve-mean-over-the-folds-auc"
    page.click(tool("CSV"))
    table = pd.read_csv(saved(tmp_path, f"{file}.csv"))
    assert list(table) == ["series", "false positive rate", "true positive rate"]
    roc = read_json(run.inputs.ensemble)["roc"]
    rows = table[table["series"].str.startswith("ensemble")]
    np.testing.assert_allclose(rows["false positive rate"], roc["fpr"], rtol=1e-5)
    np.testing.assert_allclose(rows["true positive rate"], roc["tpr"], rtol=1e-5)
    page.click(tool("SVG"))
    root = ElementTree.parse(saved(tmp_path, f"{file}.svg")).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    line = root.find(".//{*}polyline")
    assert "stroke: rgb(0, 114, 178)" in line.get("style")  # colours do not depend on the page
    page.run(f"document.querySelector('{tool('PNG')}').focus()")
    page.press("Enter")
    picture = Image.open(saved(tmp_path, f"{file}.png")).convert("RGB")
    assert picture.size == tuple(3 * int(root.get(side)) for side in ("width", "height"))
    pixels = np.asarray(picture).reshape(-1, 3)
    assert (pixels[0] == 255).all()
    assert (np.abs(pixels.astype(int) - (0, 114, 178)).max(axis=1) < 8).sum() > 500  # the first curve


def test_the_corner_of_the_roc_curve_enlarges_by_mouse_and_keyboard(page, run):
    shown = f"[...document.querySelectorAll('{ROC} > svg')].map((svg) => svg.getClientRects().length > 0)"
    ticks = "[...document.querySelectorAll('{} > text')].map((text) => text.textContent)"
    assert page.run(shown) == [True, False]
    page.click(tool("Zoom"))
    assert page.run(shown) == [False, True]
    assert page.run(f"document.querySelector('{tool('Zoom')}').getAttribute('aria-pressed')") == "true"
    labels = page.run(ticks.format(f"{ROC} > svg.part"))
    assert {"0.80", "0.85", "1.00", "0.00", "0.10", "0.20"} <= set(labels)
    page.move(f"{ROC} > svg.part", 0.5, 0.5)
    tip, inside = page.run("document.querySelector('.tip').textContent"), r"rate ([\d.]+), true positive rate ([\d.]+)$"
    if found := re.search(inside, tip):  # a curve passes near the centre of the corner
        assert float(found[1]) <= 0.2 and float(found[2]) >= 0.8
    # Nothing is drawn outside the axes.
    area = f"document.querySelector('{ROC} > svg.part > svg')"
    style = f"getComputedStyle({area})"
    assert page.run(f"[{style}.overflow, {style}.width, {area}.width.baseVal.value]") == ["hidden", "auto", 400]
    page.click(f"{ROC} .legend li:nth-child(3) button")
    hidden = "[...document.querySelectorAll('{} .series')].map((series) => series.hasAttribute('hidden'))"
    for drawing in ("svg:not(.part)", "svg.part"):
        assert page.run(hidden.format(f"{ROC} > {drawing}")) == [False, False, True]
    page.run(f"document.querySelector('{tool('Zoom')}').focus()")
    page.press(" ")
    assert page.run(shown) == [True, False]


def test_printing_opens_what_is_folded(page):
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.run(folded)
    assert before > 2
    page.run(f"addEventListener('beforeprint', () => {{ window.foldedInPrint = {folded}; }})")
    page.call("Page.printToPDF")
    assert page.run("window.foldedInPrint") == 0
    assert page.run(folded) == before


def test_print_has_no_controls_and_no_boxes_that_scroll(page):
    page.call("Emulation.setDeviceMetricsOverride", width=794, height=1123, deviceScaleFactor=1, mobile=False)  # A4
    controls = (
        "[...document.querySelectorAll('.tools, .filter, nav')].filter((one) => one.getClientRects().length).length"
    )
    boxes = (
        "[...document.querySelectorAll('.scroll, pre')].filter((box) => box.scrollWidth > box.clientWidth"
        " && getComputedStyle(box).overflowX !== 'visible').length"
    )
    assert page.run(controls) > 10
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        page.run("dispatchEvent(new Event('beforeprint')); null")
        assert page.run(controls) == page.run(boxes) == 0
        assert page.run("document.documentElement.scrollWidth") <= 795
        assert page.run("getComputedStyle(document.querySelector('pre')).maxHeight") == "none"
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_the_policy_blocks_other_scripts_and_requests(run, browser):
    browser.open(run.folder / "report.html", 1400)
    browser.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.bad = 1'}))"
    )
    assert browser.run("window.bad") is None
    assert browser.run("fetch('file:///').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in text for text in browser.complaints())
