"""The page of a report in a real Chromium: it is drawn, it can be used, and it runs nothing that a port says."""

import base64
import shutil
from dataclasses import replace

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_reports import CASES, HALF, JUDGED, RIGHT, judged

from deberta_ref import model
from deberta_ref.conformance.mistakes.mutants import mutants
from deberta_ref.conformance.reports import html
from deberta_ref.conformance.verdict import Finding, Match, Report, Verdict

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"

PIXELS = """
const canvas = document.querySelectorAll("canvas")[arguments[0]];
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const colours = [];
for (let i = 0; i < data.length; i += 4) colours.push(data.slice(i, i + 4).join());
return [canvas.width, canvas.height, colours];
"""


@pytest.fixture(scope="module")
def chromium():
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.fail("These tests need Chromium and its driver: apt-get install chromium chromium-driver.")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens the page of a report, at a width and in a colour scheme; fails if the browser then complains."""

    def open_page(report, *, width=1200, scheme="light", at=""):
        path = tmp_path / "report.html"
        path.write_bytes(html.page(report, CASES).encode())
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        chromium.get("about:blank")
        chromium.get(path.as_uri() + at)
        return chromium

    yield open_page
    said = [entry["message"] for entry in chromium.get_log("browser")]
    assert [message for message in said if "getImageData" not in message] == []  # advice on what PIXELS does


@pytest.fixture(scope="module")
def flipped():
    return judged(mutants["p2c-index-flipped"].model())


def screenshot(page, path):
    """The whole page as a PNG."""
    height = page.execute_script("return document.documentElement.scrollHeight")
    width = page.execute_script("return document.documentElement.scrollWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


def choose(page, case):
    page.find_element(By.ID, case).find_element(By.TAG_NAME, "button").click()
    return page.find_element(By.CLASS_NAME, "details")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_case_that_is_clicked_shows_where_it_goes_wrong(opened, flipped, tmp_path, width, scheme):
    page = opened(flipped, width=width, scheme=scheme)
    assert page.find_element(By.TAG_NAME, "h1").text.split() == ["my_port.py:load", "does", "not", "conform"]
    assert not page.find_elements(By.TAG_NAME, "canvas")
    details = choose(page, "model/demo")
    assert "First over the limit: layers.0.attention.p2c" in details.text
    assert "deberta-ref check my_port.py:load --case model/demo" in details.text
    first = details.find_element(By.CSS_SELECTOR, ".grid .first")
    assert first.get_attribute("title").startswith("layers.0.attention.p2c scores")
    assert len(page.find_elements(By.TAG_NAME, "canvas")) == 3
    drawn = [page.execute_script(PIXELS, n) for n in range(3)]
    for columns, rows, colours in drawn:
        assert (columns, rows) == (27, 27)
        assert len(set(colours)) > 20
    assert drawn[0] != drawn[1]
    for canvas in page.find_elements(By.TAG_NAME, "canvas"):
        assert canvas.size["width"] > 200
        assert canvas.size["height"] > 200
    assert page.execute_script("return document.documentElement.scrollWidth") == width  # nothing hangs over the edge
    screenshot(page, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 50_000
    choose_again = page.find_element(By.ID, "model/demo").find_element(By.TAG_NAME, "button")
    choose_again.click()
    assert not page.find_elements(By.CLASS_NAME, "details")


def test_the_address_opens_a_case(opened, flipped):
    page = opened(flipped, at="#model/holes")
    assert "holes" in page.find_element(By.CSS_SELECTOR, "tr.open").text
    page = opened(flipped, at="#%")
    assert not page.find_elements(By.CLASS_NAME, "details")


def test_heat_maps_are_read_with_the_keyboard_and_show_another_head(opened, flipped):
    page = opened(flipped)
    choose(page, "model/demo")
    readout = page.find_element(By.CLASS_NAME, "readout")
    before = readout.text
    assert "query" in before
    assert "reference" in before
    page.find_element(By.CLASS_NAME, "maps").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert readout.text != before
    pixels = page.execute_script(PIXELS, 0)
    slices = page.find_elements(By.CSS_SELECTOR, ".chooser label")
    assert len(slices) == 2 * 4
    next(label for label in slices if not label.find_element(By.TAG_NAME, "input").is_selected()).click()
    assert page.execute_script(PIXELS, 0) != pixels


def test_padded_pairs_are_transparent(opened, flipped):
    page = opened(flipped)
    choose(page, "model/holes")
    _, _, colours = page.execute_script(PIXELS, 2)
    assert "0,0,0,0" in colours


def test_filters_choose_statuses_suites_and_names(opened, flipped):
    page = opened(flipped)

    def shown():
        return [row.get_attribute("id") for row in page.find_elements(By.CSS_SELECTOR, "tr.case")]

    failing = [verdict.id for verdict in flipped.verdicts if verdict.status == "fail"]
    assert shown() == failing
    page.find_element(By.CSS_SELECTOR, ".chip.pass").click()
    assert shown() == list(JUDGED)
    search = page.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys("HOLES")
    assert shown() == ["model/holes"]
    search.clear()
    search.send_keys(" ", Keys.BACKSPACE)
    page.find_element(By.CSS_SELECTOR, "option[value=layer]").click()
    assert shown() == ["layer/last"]


def test_every_failing_case_can_be_opened(opened):
    verdicts = [
        Verdict(case.id, case.suite, "fail", 9.0, {name: 9.0}, name, found={name: case.expected[name] + 1})
        for case in CASES.values()
        for name in case.order[-1:]
    ]
    verdicts.append(Verdict("ops/x", "ops", "fail", float("inf"), {"result": float("inf")}, "result", local=(1, 9.0)))
    page = opened(Report("p", tuple(verdicts), reasons=("r",)))
    for verdict in verdicts:
        page.execute_script("choose(arguments[0])", verdict.id)
        assert len(page.find_elements(By.TAG_NAME, "canvas")) == (3 if verdict.found else 0)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("factor", [1e30, 1e38, 1e150, 1e300])
def test_errors_of_any_size_are_shown(opened, factor, width):
    verdicts = []
    for name in ("model/demo", "model/holes"):
        found = {"output": CASES[name].expected["output"] * factor}
        scores = CASES[name].scores(found)
        verdicts.append(Verdict(name, "model", "fail", scores["output"], scores, "output", found=found))
    page = opened(Report("p", tuple(verdicts), reasons=("r",)), width=width)
    details = choose(page, "model/demo")
    assert "Its error is infinite." in details.text or "times that of right ports" in details.text
    assert len(page.find_elements(By.TAG_NAME, "canvas")) == 3
    assert page.execute_script("return document.documentElement.scrollWidth") == width  # nothing hangs over the edge


def test_a_port_that_conforms_has_a_page_too(opened, tmp_path):
    page = opened(judged(model))
    assert page.find_element(By.CSS_SELECTOR, "h1 .good").text == "conforms"
    assert "0." in choose(page, "model/demo").find_element(By.CLASS_NAME, "grid").text
    screenshot(page, tmp_path / "report.png")
    opened(RIGHT)
    page = opened(Report("p", RIGHT.verdicts, reasons=("r",), undecided=True))
    assert page.find_element(By.CSS_SELECTOR, "h1 .odd").text == "passes what was judged"
    opened(Report("nothing", (), reasons=("No case was judged.",)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_what_is_known_of_every_mistake_is_shown_long_groups_folded(opened, tmp_path, width, scheme):
    page = opened(HALF, width=width, scheme=scheme)
    assert page.find_element(By.CSS_SELECTOR, "h1 .bad").text == "does not conform in bfloat16"
    section = page.find_element(By.CLASS_NAME, "evidence")
    assert section.text.startswith("What these cases say of 10 known mistakes, in bfloat16\nThe port has 2 of them; ")
    groups = section.find_elements(By.TAG_NAME, "details")
    assert [group.get_attribute("class") for group in groups] == ["has", "undecided", "excluded"]
    assert [group.get_attribute("open") is not None for group in groups] == [True, True, False]
    first, second = groups[0].find_elements(By.CSS_SELECTOR, "tbody tr")
    assert [*" ".join(first.text.split()).split(" GELU is the tanh approximation. ")] == [
        "gelu-tanh not accepted", "GELU-ERF 31 0.2×",
    ]  # fmt: skip
    assert "variance-over-d-minus-1 accepted" in second.text
    assert "mistake-6" not in section.text
    groups[2].find_element(By.TAG_NAME, "summary").click()
    assert "It errs so: 6." in section.text
    assert page.execute_script("return document.documentElement.scrollWidth") == width  # nothing hangs over the edge
    screenshot(page, tmp_path / "report.png")
    page.execute_script("draw()")
    assert page.find_element(By.CLASS_NAME, "excluded").get_attribute("open") is not None  # as the reader left it


def test_where_no_mistake_explains_the_error_nothing_is_said_of_any(opened):
    none = replace(HALF, evidence=tuple(replace(f, state="undecided", sigma=0.0) for f in HALF.evidence), accepted=())
    section = opened(none).find_element(By.CLASS_NAME, "evidence")
    assert "Nothing can be said: no known mistake explains the error of this port." in section.text
    assert "Undecided 10." in section.text
    page = opened(RIGHT)
    assert not page.find_elements(By.CLASS_NAME, "evidence")
    assert "null" not in page.find_element(By.TAG_NAME, "main").text


def test_sentences_on_a_port_that_conforms_are_remarks(opened):
    said = ("p2c-absent is accepted, but not found.",)
    headings = lambda report: [heading.text for heading in opened(report).find_elements(By.TAG_NAME, "h2")]
    assert headings(replace(RIGHT, common=said))[0] == "Remarks"
    assert headings(replace(RIGHT, common=said, reasons=("r",)))[0] == "What the failing cases have in common"


def test_text_from_a_port_is_never_run(opened):
    verdict = Verdict(HOSTILE, HOSTILE, "error", notes=(HOSTILE,), reproduce=HOSTILE, first_tap=HOSTILE)
    report = Report(
        HOSTILE, (verdict,), (Match(HOSTILE, HOSTILE, 1.0, HOSTILE, HOSTILE, (HOSTILE,)),), (HOSTILE,), (HOSTILE,)
    )
    findings = (Finding(HOSTILE, HOSTILE, HOSTILE, "has", 9.0, 9.0),)
    page = opened(replace(report, seconds=1.0, evidence=findings))
    page.find_element(By.CSS_SELECTOR, "tr.case button").click()
    assert HOSTILE in page.find_element(By.CLASS_NAME, "details").text
    assert page.title != "run"
    assert not page.find_elements(By.TAG_NAME, "img")
