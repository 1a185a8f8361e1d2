"""Names, texts and classes that are attacks, through the command line: nothing acts on a terminal or in a file."""

from __future__ import annotations

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bench.cli.process import main
from bench.results.spec import hash_identity
from tests.helpers.compare_records import Made, logits
from tests.helpers.report_store import make_cell
from tests.helpers.small_runs import TINY

ATTACK = "\x1b]0;owned\x07\x1b[31m\x9b2J\r\u202egnp\x00[bold]b[/bold]|<img src=x onerror=alert(1)>[c](javascript:d)"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
READERS = {
    "table": ("table", "--at", "no-loss,2x"),
    "table of JSON": ("table", "--json"),
    "list": ("list", "runs"),
    "show": ("show", "last"),
    "show of JSON": ("show", "last", "--json"),
    "history": ("history", "--record"),
    "cases": ("explain", "last", "--cases"),
    "diagnose": ("diagnose", "last", "--stored"),
    "a run that is not there": ("show", ATTACK),
    "a strategy that is not there": ("run", "--strategy", ATTACK, "--task", "demo"),
    "a task that is not there": ("run", "--strategy", "entropy", "--task", ATTACK),
    "an option that is not there": ("table", f"--{ATTACK}"),
    "a setting that is not there": ("run", "--strategy", "entropy", "--task", "demo", "--set", f"{ATTACK}=1"),
    "a file that is not there": ("replay", ATTACK.replace("\x00", ""), "--strategy", "entropy"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which task, backbone, classes, ids, arguments and warnings are attacks."""
    store = tmp_path_factory.mktemp("hostile")
    for seed, strategy in enumerate(("entropy", "patience")):
        make_cell(store, strategy, f"task {ATTACK}", f"backbone {ATTACK}", seed, labels=(ATTACK, "b"),
                           criterion={"window": ATTACK}, ids=(ATTACK,), warnings=[ATTACK], samples=30,
                           command=f"bench run {ATTACK}", place=f"t/b/c{seed}")  # fmt: skip
    return store


def spoken(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, on both streams, after checking that no letter of it acts and nothing went wrong in us."""
    code = main(list(arguments))
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert code in (0, 2, 3, 4), text
    assert "Traceback" not in text
    assert not ACTS.search(text), ACTS.findall(text)
    text.encode("utf-8")
    return text


@pytest.mark.parametrize("name", READERS)
def test_no_letter_acts_on_the_terminal(hostile: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    verb, *rest = READERS[name]
    where = [] if verb == "replay" else ["--results-dir", str(hostile)]
    text = spoken(capsys, verb, *rest, *where)
    assert "x1b" in text or "u001b" in text or "owned" not in text


def test_what_is_left_out_is_named_without_acting(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder's name can hold anything but a slash and NUL; here the record in it is none."""
    shutil.copytree(hostile, tmp_path / "store")
    bad = tmp_path / "store" / "t" / "b" / ATTACK.replace("\x00", "").replace("/", "")
    bad.mkdir(parents=True)
    (bad / "record.json").write_text("{")
    text = spoken(capsys, "table", "--results-dir", str(tmp_path / "store"))
    assert "\\x1b" in text


def test_markup_in_a_points_name_is_shown_as_it_is(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = spoken(capsys, "show", "last", "--results-dir", str(hostile))
    assert "[bold]b[/bold]" in re.sub(r"\s*│[^\n]*\n│\s*", "", text)


def compared(tmp_path: Path) -> list[str]:
    """Two stores of results whose names are attacks, and that differ."""
    stores = [tmp_path / "base", tmp_path / "candidate"]
    for store, exits in zip(stores, (logits(), logits(skill=0.2)), strict=True):
        Made(exits=exits).write(store)
        [path] = store.rglob("record.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        record["spec"] |= {"task": f"t {ATTACK}", "backbone": f"b {ATTACK}"}
        record["task"]["name"] = record["identity"]["task"]["name"] = f"t {ATTACK}"
        record["backbone"]["name"] = record["identity"]["backbone"]["name"] = f"b {ATTACK}"
        record["quality_key"] = hash_identity(record["identity"])
        path.write_text(json.dumps(record), encoding="utf-8")
    return [str(store) for store in stores]


def shown_html(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


@pytest.mark.parametrize("verb", ["table", "compare", "report"])
def test_markdown_files_hold_no_html_and_no_links(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    page = tmp_path / ("report.md" if verb == "report" else "page.md")
    if verb == "table":
        spoken(capsys, "table", "--results-dir", str(hostile), "--markdown", str(page))
    elif verb == "compare":
        spoken(capsys, "compare", *compared(tmp_path), "--markdown", str(page), "--all")
    else:
        spoken(capsys, "report", "--results-dir", str(hostile), "--out", str(tmp_path), "--format", "md")
    text = page.read_text(encoding="utf-8")
    assert not ACTS.search(text)
    assert "owned" in text
    made = shown_html(text)
    assert "<img" not in made
    assert "<a " not in made


def test_xml_html_and_csv_stay_well_formed(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, drawn = tmp_path / "junit.xml", tmp_path / "history.svg"
    base, other = compared(tmp_path)
    spoken(capsys, "compare", base, other, "--junit", str(junit))
    spoken(capsys, "history", "--results-dir", base, "--record", "--svg", str(drawn))
    for path in (junit, drawn):
        assert "owned" in "".join(
            [*ElementTree.parse(path).getroot().itertext(), *(str(e.attrib) for e in ElementTree.parse(path).iter())]
        )
        assert not ACTS.search(path.read_text(encoding="utf-8"))
    spoken(capsys, "report", "--results-dir", str(hostile), "--out", str(tmp_path), "--format", "html,csv,latex")
    for name in ("report.html", "points.csv", "tables.tex"):
        assert not ACTS.search((tmp_path / name).read_text(encoding="utf-8"))
    rows = list(csv.reader((tmp_path / "points.csv").open(encoding="utf-8", newline="")))
    assert len({len(row) for row in rows}) == 1


def test_hostile_texts_and_classes_from_training_to_explanation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, store = tmp_path / "data", tmp_path / "results"
    task.mkdir()
    attack = ATTACK.replace("\x00", "").replace("\r", "")
    for name, rows in (("train", 64), ("validation", 16)):
        with (task / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([f"{attack} week {i} of {name}", attack if i % 2 else "=b"] for i in range(rows))
    run = ["run", "--strategy", "entropy", "--task", str(task), "--backbone", "albert-demo", *TINY]
    spoken(capsys, *run, "--results-dir", str(store))
    page, picture = tmp_path / "explain.html", tmp_path / "explain.png"
    options = ["--results-dir", str(store), "--offline", "--quiet"]
    text = spoken(capsys, "explain", "last", "--text", attack, "--html", str(page), "--png", str(picture), *options)
    assert "\\x1b" in text
    html = page.read_text(encoding="utf-8")
    assert not ACTS.search(html)
    assert "<img src=x" not in html
    assert picture.read_bytes().startswith(b"\x89PNG")
    spoken(capsys, "explain", "last", "--cases", *options)
    spoken(capsys, "diagnose", "last", "--limit", "8", "--edits", "1", "--candidates", "2", *options)
