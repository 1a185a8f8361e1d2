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


SHOWN = ".task:not([hidden]) .view:not([hidden])"


def rows(browser: Any, table: str = ".systems tbody:not([hidden])") -> list[str]:
    """The first words of the rows that are not filtered away, in the panels that are shown."""
    script = """return [...document.querySelectorAll(arguments[0])].filter(r => !r.hidden)
        .map(r => (r.cells[0].querySelector('bdi, a') || r.cells[0]).textContent.trim())"""
    found: list[str] = browser.execute_script(script, f"{SHOWN} {table} tr")
    return found


def choose(browser: Any, field: str, text: str) -> None:
    """Choose an option by its text, as a reader would."""
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", field)).select_by_visible_text(text)


def column(browser: Any, number: int) -> list[float]:
    script = """return [...document.querySelectorAll(arguments[0])].filter(r => !r.hidden)
        .map(r => parseFloat(r.cells[arguments[1]].textContent))"""
    found: list[float] = browser.execute_script(script, f"{SHOWN} .points tbody tr", number)
    return found


def test_the_example_is_short_while_it_is_folded(browser: Any) -> None:
    example = Path(__file__).parents[2] / "reports/example/report.html"
    for width, most in ((1400, 6000), (390, 9000)):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(example.as_uri())
        wide, high = browser.execute_script(
            "const d = document.documentElement; return [d.scrollWidth, d.scrollHeight]"
        )
        assert wide <= width
        assert high < most


def test_nothing_is_fetched_and_hostile_text_stays_text(opened: Any) -> None:
    assert opened.title == "ExitBench report"
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert opened.execute_script("return document.scripts.length") == 1


def test_the_answer_at_2x_is_on_the_first_screen(opened: Any) -> None:
    seen = opened.execute_script(
        """return ['.card:not([hidden]) .found', '.first svg.chart', '.systems tbody:not([hidden])'].map(q => {
            const b = document.querySelector('.view:not([hidden]) ' + q).getBoundingClientRect();
            return [b.top, b.bottom]; })"""
    )
    assert all(0 <= top < bottom for top, bottom in seen)
    assert max(bottom for _, bottom in seen[:2]) < 900
    assert "At 2× or more on demo:" in opened.find_element("css selector", ".card:not([hidden])").text
    assert (
        opened.execute_script("return document.querySelectorAll('.task:first-of-type .view:not([hidden])').length") == 1
    )


def test_the_table_of_all_points_is_sorted_with_the_mouse_and_the_keyboard(opened: Any) -> None:
    opened.execute_script("document.querySelector('.points').closest('details').open = true")
    head = opened.find_elements("css selector", ".points thead button")[6]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    head.click()
    choose(opened, "task", "demo")
    down = column(opened, 6)
    assert len(down) > 4
    assert down == sorted(down, reverse=True)
    head.send_keys("\n")
    assert column(opened, 6) == sorted(down)
    assert opened.find_elements("css selector", ".points thead th")[6].get_attribute("aria-sort") == "ascending"


def test_filters_leave_what_they_say(opened: Any) -> None:
    everything = rows(opened)
    field = opened.find_element("id", "filter")
    field.send_keys("entropy")
    assert {name.split()[0] for name in rows(opened, ".points tbody")} == {"entropy"}
    field.clear()
    field.send_keys("plain 3, full")
    assert rows(opened) == ["Full model", "Plain, 3 layers"]
    assert f"2 of {len(everything)} lines" in opened.find_element("id", "count").text
    field.clear()
    field.send_keys("nobody")
    assert opened.find_element("id", "count").text.endswith(f"0 of {len(everything)} lines: nothing has this name")
    assert not [part for part in opened.find_elements("css selector", ".first") if part.is_displayed()]
    assert "No system matches the filter." in opened.find_element("id", "main").text
    assert "nothing here matches the filter" in opened.find_element("css selector", ".card:not([hidden])").text
    opened.execute_script("document.querySelector('.points').closest('details').open = true")
    assert not opened.find_element("css selector", ".points").is_displayed()
    assert "No row matches the filter." in opened.find_element("id", "main").text
    field.clear()
    field.send_keys(" ")
    assert opened.find_element("css selector", ".first").is_displayed()
    assert not opened.find_elements("css selector", ".nothing")
    assert rows(opened) == everything
    choose(opened, "task", "rte")
    assert opened.execute_script("return document.querySelectorAll('.task:not([hidden])').length") == 1
    choose(opened, "backbone", "albert-demo")
    assert opened.execute_script("return document.querySelectorAll('.task:not([hidden])').length") == 0
    choose(opened, "task", "all")
    choose(opened, "family", "controls")
    assert rows(opened) == ["Full model", "Plain, 3 layers"]
    choose(opened, "family", "all")
    listed = rows(opened, ".points tbody")
    assert len(listed) < len(opened.find_elements("css selector", f"{SHOWN} .points tbody tr"))
    choose(opened, "family", "confidence")
    assert {name.split()[0] for name in rows(opened, ".points tbody")} == {"entropy"}


def test_a_filter_leaves_the_same_of_figure_table_and_sentence(opened: Any) -> None:
    first = f"{SHOWN} .first"
    drawn = f"return [...document.querySelectorAll('{first} path.ln:not(.off)')].map(line => line.dataset.series)"
    said = "return [...document.querySelectorAll('.card:not([hidden]) p:not([hidden])')].map(p => p.textContent).join()"
    everything, sentences = set(opened.execute_script(drawn)), opened.execute_script(said)
    choose(opened, "task", "demo")
    choose(opened, "family", "windows and patience")
    shown = set(rows(opened))
    assert shown
    assert shown < set(opened.execute_script(drawn.replace("path.ln:not(.off)", "[data-series]")))
    assert set(opened.execute_script(drawn.replace(SHOWN, ".task:first-of-type .view:not([hidden])"))) == shown
    card = opened.find_element("css selector", ".card:not([hidden])").text
    assert card.startswith("At 2× or more on demo, of those shown: ")
    assert all(name in card for name in shown)
    assert not [name for name in everything - shown if f"{name} 0." in card]
    choose(opened, "family", "all")
    choose(opened, "task", "all")
    assert set(opened.execute_script(drawn)) == everything
    assert opened.execute_script(said) == sentences


def test_another_operating_point_has_its_own_sentence_and_lines(opened: Any) -> None:
    before = opened.find_element("css selector", f"{SHOWN} .card:not([hidden])").text
    choose(opened, "rule", "no loss")
    after = opened.find_element("css selector", f"{SHOWN} .card:not([hidden])").text
    assert before != after
    assert after.startswith("Without loss on demo:")


def test_a_tab_and_a_link_show_their_panel(opened: Any, page: Path) -> None:
    tab = opened.find_elements("css selector", ".tabs a")[1]
    opened.execute_script("arguments[0].click()", tab)
    wanted = tab.get_attribute("href").partition("#")[2]
    assert opened.find_element("id", wanted).is_displayed()
    assert tab.get_attribute("aria-current") == "true"
    opened.get("about:blank")
    opened.get(f"{page.as_uri()}#{wanted}")
    assert opened.find_element("id", wanted).is_displayed()


def test_hover_tells_the_operating_point_and_the_curve(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    tip = opened.find_element("id", "tip")
    assert not tip.is_displayed()
    mark = opened.find_element("css selector", ".view:not([hidden]) .first svg.chart path.pt")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(opened).move_to_element(mark).perform()
    assert tip.is_displayed()
    assert "threshold" in tip.text
    assert "FLOPs speed-up" in tip.text
    place = opened.execute_script(
        """const p = document.querySelector('.view:not([hidden]) .first path.ln'), s = p.closest('svg.chart');
        const n = p.getAttribute('d').match(/-?[\\d.]+/g).map(Number), v = [n[0] + n[2], n[1] + n[3]];
        const q = new DOMPoint(v[0], v[1]).matrixTransform(s.getScreenCTM()); return [q.x, q.y]"""
    )
    ActionChains(opened).w3c_actions.pointer_action.move_to_location(0, 0)
    actions = ActionChains(opened)
    actions.w3c_actions.pointer_action.move_to_location(round(place[0]), round(place[1]))
    actions.perform()
    assert tip.is_displayed()


def test_focus_shows_the_tip_and_escape_hides_it(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    opened.execute_script("document.querySelector('.view:not([hidden]) .first path.pt').focus()")
    tip = opened.find_element("id", "tip")
    assert tip.is_displayed()
    ActionChains(opened).send_keys("\ue00c").perform()
    assert not tip.is_displayed()


def test_a_legend_switches_a_series_off_and_on(opened: Any) -> None:
    button = opened.find_element("css selector", ".view:not([hidden]) .first .legend button")
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


def test_on_a_phone_the_first_table_fits(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    opened.refresh()
    inner, outer = opened.execute_script(
        "const w = document.querySelector('.systems').parentElement; return [w.scrollWidth, w.clientWidth]"
    )
    assert inner <= outer


def test_a_link_to_a_cell_opens_its_command(browser: Any, tmp_path: Path) -> None:
    for seed in range(25):  # with so many, commands are folded
        make_cell(tmp_path / "r", seed=seed, exits=False)
    write_report(tmp_path / "r", tmp_path, ["html"], Progress(quiet=True))
    browser.get((tmp_path / "report.html").as_uri())
    unfolded = "return [...document.querySelectorAll('details[open]')].map(d => d.id)"
    assert browser.execute_script(unfolded) == []
    wanted = browser.find_elements("css selector", "#cells tbody tr")[7].get_attribute("id")
    browser.get("about:blank")
    browser.get((tmp_path / "report.html").as_uri() + f"#{wanted}")
    assert browser.execute_script(unfolded) == ["cells"]
    assert browser.find_element("id", wanted).is_displayed()


def test_paper_has_the_tables_heads_as_text_and_what_is_shown_unfolded(opened: Any) -> None:
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = false)")
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    folded = opened.execute_script(
        "return [...document.querySelectorAll('details:not([open])')].map(d => d.id || 'view')"
    )
    assert set(folded) <= {"cells", "time", "view"}
    assert opened.execute_script(f"return document.querySelectorAll('{SHOWN} details:not([open])').length") == 0
    buttons, texts = opened.execute_script(
        """const seen = q => [...document.querySelectorAll(q)].filter(e => e.offsetParent).map(e => e.innerText.trim());
        return [seen('.points thead button'), seen('.points thead .paper')]"""
    )
    assert buttons == []
    assert texts[0] == "strategy"
    assert all(texts)
    opened.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert opened.execute_script("return document.querySelectorAll('details[open]').length") == 0
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_bars_of_one_colour_are_told_apart_by_their_markers(opened: Any) -> None:
    bars, caps = opened.execute_script(
        "const n = q => document.querySelectorAll('.chart ' + q).length; return [n('.bar:not(.light)'), n('.cap')]"
    )
    assert caps > 0
    assert bars == caps  # depth tables have two parts a bar, and the cap on the upper, lighter one
