"""The page in a real browser: sorting, filtering, hovering, and nothing on the console."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.progress import Progress
from bench.report.write import write_report
from tests.helpers.report_store import make_cell, varied_store

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    store = varied_store(folder / "results")
    hostile = "</script><script>document.title='owned';console.error('owned')</script>"
    make_cell(store, status="error", error=hostile, seed=7, command=f"bench run --task '{hostile}'")
    write_report(store, folder / "out", ["html"], Progress(quiet=True))
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,900"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The page, freshly loaded; every message on the console fails the test, and so does what is fetched."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("browser")
    browser.get(page.as_uri())
    yield browser
    said = browser.get_log("browser")
    assert said == [], json.dumps(said, indent=1)


def rows(browser: Any) -> list[str]:
    visible = "[...document.querySelectorAll('#matrix tbody tr')].filter(r => !r.hidden)"
    found: list[str] = browser.execute_script(f"return {visible}.map(r => r.cells[0].dataset.v)")
    return found


def values(browser: Any, column: int) -> list[float]:
    script = """return [...document.querySelectorAll('#matrix tbody tr')].filter(r => !r.hidden).map(r =>
        [...r.cells[arguments[0]].querySelectorAll('.pt-cell')].filter(p => !p.hidden).map(p => p.dataset.v)[0])"""
    return [float(v) for v in browser.execute_script(script, column) if v not in (None, "")]


def test_nothing_is_fetched_and_hostile_text_stays_text(opened: Any) -> None:
    assert opened.title == "ExitBench report"
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert opened.execute_script("return document.scripts.length") == 1


def test_sorting_by_a_task_and_by_name(opened: Any) -> None:
    heads = opened.find_elements("css selector", "#matrix thead button")
    heads[1].click()
    down = values(opened, 1)
    assert len(down) > 4
    assert down == sorted(down, reverse=True)
    heads[1].click()
    assert values(opened, 1) == sorted(down)
    assert opened.find_elements("css selector", "#matrix thead th")[1].get_attribute("aria-sort") == "ascending"
    heads[0].click()
    assert rows(opened) == sorted(rows(opened), reverse=True) or rows(opened) == sorted(rows(opened))


def test_sorting_works_from_the_keyboard(opened: Any) -> None:
    head = opened.find_elements("css selector", "#matrix thead button")[1]
    head.send_keys("\n")
    assert values(opened, 1) == sorted(values(opened, 1), reverse=True)


def test_filtering_by_text_and_task(opened: Any) -> None:
    everything = rows(opened)
    field = opened.find_element("id", "filter")
    field.send_keys("entropy")
    assert rows(opened) == ["entropy"]
    assert opened.find_element("id", "count").text == f"1 of {len(everything)} strategies"
    field.clear()
    field.send_keys("entropy, elbert 8")
    assert rows(opened) == ["elbert-mono (window=8)", "entropy"]
    field.clear()
    field.send_keys(" ")
    assert rows(opened) == everything
    opened.execute_script(
        "const s = document.getElementById('column'); s.value = '2'; s.dispatchEvent(new Event('change'))"
    )
    assert rows(opened) == ["elbert-mono", "entropy"]
    shown = opened.execute_script(
        "return [...document.querySelectorAll('#matrix thead th')].filter(h => !h.hidden).length"
    )
    assert shown == 2


def test_another_operating_point(opened: Any) -> None:
    before = values(opened, 1)
    opened.execute_script(
        "const s = document.getElementById('rule'); s.value = 'full'; s.dispatchEvent(new Event('change'))"
    )
    assert values(opened, 1) != before


def test_hover_tells_the_operating_point_and_the_curve(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    tip = opened.find_element("id", "tip")
    assert not tip.is_displayed()
    mark = opened.find_element("css selector", ".panel svg.chart path.pt")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(opened).move_to_element(mark).perform()
    assert tip.is_displayed()
    assert "threshold" in tip.text
    assert "FLOPs speed-up" in tip.text
    place = opened.execute_script(
        """const p = document.querySelector('.panel svg.chart path.ln'), s = p.ownerSVGElement;
        const v = p.getAttribute('d').slice(1).split('L')[30].split(' ').map(Number);
        const q = new DOMPoint(v[0], v[1]).matrixTransform(s.getScreenCTM()); return [q.x, q.y]"""
    )
    ActionChains(opened).w3c_actions.pointer_action.move_to_location(0, 0)
    actions = ActionChains(opened)
    actions.w3c_actions.pointer_action.move_to_location(round(place[0]), round(place[1]))
    actions.perform()
    assert tip.is_displayed()


def test_focus_shows_the_tip_and_escape_hides_it(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    opened.execute_script("document.querySelector('.panel svg.chart path.pt').focus()")
    tip = opened.find_element("id", "tip")
    assert tip.is_displayed()
    ActionChains(opened).send_keys("\ue00c").perform()
    assert not tip.is_displayed()


def test_a_legend_switches_a_series_off_and_on(opened: Any) -> None:
    button = opened.find_element("css selector", ".panel .legend button")
    opened.execute_script("arguments[0].click()", button)
    assert button.get_attribute("aria-pressed") == "false"
    assert opened.execute_script("return document.querySelectorAll('.chart .off').length") > 0
    opened.execute_script("arguments[0].click()", button)
    assert opened.execute_script("return document.querySelectorAll('.chart .off').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 375, 320])
def test_nothing_is_wider_than_the_screen(opened: Any, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    dark = opened.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    small = opened.execute_script(
        """return [...document.querySelectorAll('svg.chart text')].filter(t => {
            const m = t.getScreenCTM(); return 11 * Math.hypot(m.a, m.b) < 7; }).length"""
    )
    assert small == 0


def test_texts_in_charts_do_not_leave_them(opened: Any) -> None:
    outside = opened.execute_script(
        """return [...document.querySelectorAll('svg.chart')].flatMap(s => { const f = s.getBoundingClientRect();
            return [...s.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();
                return b.left < f.left - 1 || b.right > f.right + 1 || b.top < f.top - 1 || b.bottom > f.bottom + 1; })
                .map(t => t.textContent); })"""
    )
    assert outside == []


def test_a_phone_starts_with_one_task_that_fits(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    opened.refresh()
    assert opened.execute_script("return document.getElementById('column').value") == "1"
    inner, outer = opened.execute_script(
        "const w = document.querySelector('#matrix').parentElement; return [w.scrollWidth, w.clientWidth]"
    )
    assert inner <= outer


def test_series_beyond_the_first_are_switched_on_by_the_legend(browser: Any, tmp_path: Path) -> None:
    for window in range(1, 12):
        make_cell(tmp_path / "r", criterion={"window": window}, exits=False)
    write_report(tmp_path / "r", tmp_path, ["html"], Progress(quiet=True))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get((tmp_path / "report.html").as_uri())
    shown = "return [...document.querySelectorAll('.panel figure:first-of-type path.ln')]"
    count = f"{shown}.filter(p => p.closest('svg.chart') && !p.classList.contains('off')).length"
    assert browser.execute_script(count) == 8
    button = browser.find_element("css selector", ".legend button[aria-pressed=false]")
    browser.execute_script("arguments[0].click()", button)
    assert browser.execute_script(count) == 9
    assert browser.get_log("browser") == []


def test_a_link_to_a_cell_opens_its_command(browser: Any, tmp_path: Path) -> None:
    for seed in range(25):  # with so many, commands are folded
        make_cell(tmp_path / "r", seed=seed, exits=False)
    write_report(tmp_path / "r", tmp_path, ["html"], Progress(quiet=True))
    browser.get((tmp_path / "report.html").as_uri())
    unfolded = "return [...document.querySelectorAll('#cells details[open]')].map(d => d.closest('tr').id)"
    assert browser.execute_script(unfolded) == []
    wanted = browser.find_elements("css selector", "#cells tbody tr")[7].get_attribute("id")
    browser.get((tmp_path / "report.html").as_uri() + f"#{wanted}")
    assert browser.execute_script(unfolded) == [wanted]
    other = browser.find_elements("css selector", "#cells tbody tr")[9].get_attribute("id")
    browser.execute_async_script(
        "addEventListener('hashchange', () => setTimeout(arguments[1])); location.hash = arguments[0]", other
    )
    assert browser.execute_script(unfolded) == [wanted, other]


def test_paper_has_the_tables_heads_as_text_and_nothing_folded(opened: Any) -> None:
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    buttons, texts = opened.execute_script(
        """const seen = q => [...document.querySelectorAll(q)].filter(e => e.offsetParent).map(e => e.innerText.trim());
        return [seen('#matrix thead button'), seen('#matrix thead .paper')]"""
    )
    assert buttons == []
    assert texts[0] == "strategy"
    assert all(texts)
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = false)")
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_bars_of_one_colour_are_told_apart_by_their_markers(opened: Any) -> None:
    bars, caps = opened.execute_script(
        "const n = q => document.querySelectorAll('.chart ' + q).length; return [n('.bar:not(.light)'), n('.cap')]"
    )
    assert caps > 0
    assert bars == caps  # depth tables have two parts a bar, and the cap on the upper, lighter one
