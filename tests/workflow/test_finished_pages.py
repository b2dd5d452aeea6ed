"""The pages of the demo and of a run on real tiles in a real browser: on screens of two widths, printed, and used."""

import base64
import re
import time

import pandas as pd
import pytest

from histo.files import read_json
from support.browser import CHROMIUM, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
# Pictures of the page that do not decode to their size.
BROKEN = """
Promise.all([...document.querySelectorAll('image, img')].map(async (one) => {
  const copy = new Image();
  copy.src = one.getAttribute('href') || one.getAttribute('src');
  try { await copy.decode(); } catch { return 'not decoded'; }
  return copy.naturalWidth ? '' : 'empty';
})).then((found) => found.filter((one) => one))
"""
WIDE = """
[...document.querySelectorAll('.scroll, pre')].filter((box) => box.scrollWidth > box.clientWidth
  && getComputedStyle(box).overflowX !== 'visible').length
"""
FALSE_POSITIVES = "#errors .tiles"
GROUPS = "#failures details table"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module", params=["demo", "real"])
def results(request):
    """The folder of the results of a run."""
    folder = request.getfixturevalue("demo" if request.param == "demo" else "real_run")[0]
    return folder / "results" / request.param


@pytest.fixture(params=["report.html", "audit.html"])
def page(request, browser, results):
    """A page of the run; at the end, nothing was requested and nothing complained of."""
    path = results / request.param
    yield path
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


@pytest.mark.parametrize("width", [1400, 390])
def test_every_picture_is_decoded_and_nothing_overflows(browser, page, width):
    browser.open(page, width)
    browser.run(UNFOLD)
    assert browser.run("document.querySelectorAll('image, img').length") > 3
    assert browser.run(BROKEN) == []
    assert browser.run("document.documentElement.scrollWidth") == width


def test_print(browser, page):
    browser.open(page, 794, 1123)  # A4
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        browser.run("dispatchEvent(new Event('beforeprint')); null")
        assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
        assert browser.run(WIDE) == 0
        assert browser.run("document.querySelector('.tile svg').getBoundingClientRect().width") > 96
        assert browser.run("document.documentElement.scrollWidth") <= 795
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
    printed = base64.b64decode(browser.call("Page.printToPDF", printBackground=False)["data"])
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type */Page\b", printed)) > 3


def column(browser, number):
    """The numbers in a column of the table of groups."""
    rows = f"[...document.querySelector('{GROUPS}').tBodies[0].rows]"
    return browser.run(f"{rows}.map((row) => parseFloat(row.cells[{number}].innerText))")


def test_tables_sort_galleries_filter_and_tiles_enlarge(browser, results, tmp_path):
    browser.open(results / "report.html", 1400)
    browser.run(UNFOLD)
    if groups := read_json(results / "ensemble.json")["by_group"]["rows"]:
        header = f"{GROUPS} th:nth-child(4)"
        browser.click(f"{header} button")
        assert column(browser, 3) == sorted(column(browser, 3)) and len(column(browser, 3)) == len(groups)
        browser.run(f"document.querySelector('{header} button').focus()")
        browser.press("Enter")
        assert column(browser, 3) == sorted(column(browser, 3), reverse=True)

    ids = browser.run(f"[...document.querySelectorAll('{FALSE_POSITIVES} code')].map((one) => one.textContent)")
    errors = pd.read_csv(results / "errors.csv")
    assert set(ids) <= set(errors["id"])
    shown = f"[...document.querySelectorAll('{FALSE_POSITIVES}')][0].querySelectorAll('.tile:not([hidden])').length"
    count = browser.run(shown)
    assert count > 8  # fewer have no filter
    browser.click("#errors .filter input")
    browser.type(ids[1])
    assert browser.run(shown) == 1
    state = "[document.querySelector('dialog').open, document.querySelector('dialog code')?.textContent]"
    browser.click(f"{FALSE_POSITIVES} .tile:not([hidden]) .open")
    assert browser.run(state) == [True, ids[1]]
    browser.press("Escape")
    browser.run("document.querySelector('#errors .filter input').select()")
    browser.type("fold")
    assert browser.run(shown) == count
    browser.run(f"document.querySelector('{FALSE_POSITIVES} .open').focus()")
    browser.press("Enter", "ArrowRight")
    assert browser.run(state) == [True, ids[1]]
    browser.press("Escape")

    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.querySelector('#results .tools button[aria-label$=CSV]').focus()")
    browser.press("Enter")
    saved, end = tmp_path / "out-of-fold-auc.csv", time.monotonic() + 60
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.1)
    auc = read_json(results / "ensemble.json")["auc"]
    assert pd.read_csv(saved).iloc[0, 1] == pytest.approx(auc, abs=1e-4)
    assert browser.complaints() == []
