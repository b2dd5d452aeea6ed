"""The pages of the demo, of a run on real tiles and of a search, checked by axe-core in a real browser."""

import pytest

from support import axe
from support.browser import CHROMIUM, Browser
from support.search import TRIALS, collect

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

SERIOUS = ("serious", "critical")
# Of each serious violation: rule, what to do, the first elements.
VIOLATIONS = """
axe.run().then((found) => found.violations.map((one) =>
  [one.impact, one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html)]))
"""


def violations(browser, page, width, scheme="light"):
    """Return what axe-core finds on a page with everything unfolded: impact, rule, advice, the first elements."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(page, width)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.run(f"{axe.script()}; null")
    return browser.run(VIOLATIONS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(demo, tmp_path_factory):
    """The report and the audit page of the demo, and the page of a search."""
    folder, _ = demo
    *_, search, _ = collect(tmp_path_factory.mktemp("search"), TRIALS)
    return [folder / "results/demo/report.html", folder / "results/demo/audit.html", search]


def test_axe_core_finds_faults(browser, tmp_path):
    page = tmp_path / "faulty.html"
    page.write_text("<html><body><p style='color: #999; background: #aaa'>text</p><img src='data:,'></body></html>")
    found = {(impact, rule) for impact, rule, *_ in violations(browser, page, 1400)}
    assert {("serious", "color-contrast"), ("serious", "html-has-lang"), ("critical", "image-alt")} <= found


def check(browser, page, width, scheme):
    """Fail if axe-core finds something serious or critical on a page."""
    found = violations(browser, page, width, scheme)
    assert browser.run("document.querySelectorAll('h2').length") > 3, page
    assert [one for one in found if one[0] in SERIOUS] == [], page


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "light"), (1400, "dark")])
def test_axe_core_finds_nothing_serious(browser, pages, width, scheme):
    for page in pages:
        check(browser, page, width, scheme)


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_axe_core_finds_nothing_serious_on_the_report_of_real_tiles(browser, real_run, width, scheme):
    folder, *_ = real_run
    for name in ("report", "audit"):
        check(browser, folder / f"results/real/{name}.html", width, scheme)
