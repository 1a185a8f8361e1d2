"""Names: what is suggested, tables whose classes are imported when asked for, and packages that bring broken ones."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backbones.names
from backbones.errors import UsageError
from backbones.names import Registry, distrust_names, make_unknown_error, suggest_name, trust_names
from bench.cli.process import main
from strategies import STRATEGIES

GOOD = "from strategies.entropy import Entropy\n\nclass Own(Entropy):\n    '''My own rule.'''\n    name = 'own'\n"
BROKEN = {
    "syntax": (
        "def half(:\n",
        "Own",
        r"import strategy 'syntax': SyntaxError: .*\(plugged_syntax\.py, line 1\)\.",
    ),
    "raises": (
        "\nraise ValueError('no\\nlicence')\n",
        "Own",
        r"Cannot import strategy 'raises': ValueError: no licence \(plugged_raises\.py, line 2\)\.",
    ),
    "leaves": (
        "import sys\nsys.exit('bye')\n",
        "Own",
        r"import strategy 'leaves': SystemExit: bye \(.*line 2\)",
    ),
    "value": (
        "Own = 3\n",
        "Own",
        r"'value' cannot be used: it is no subclass of strategies\.base\.Strategy\.",
    ),
    "other": ("class Own: ...\n", "Own", r"'other' cannot be used: it is no subclass of strategies\.base\.Strategy\."),
    "renamed": (GOOD, "Owm", r"Unknown strategy in plugged_renamed 'Owm'\. Did you mean 'Own'\?"),
    "lost": (None, "Own", r"Cannot import strategy 'lost': No module named 'plugged_lost'\."),
    "whole": (GOOD, None, r"Strategy 'whole' cannot be used: 'plugged_whole' is not module:Class\."),
}
"""What a package can do wrong: its module's source, the class that its entry point names, what is said."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plugged_")]:
        del sys.modules[name]


def install(site: Path, package: str, **entries: str) -> None:
    """Write the metadata of ``package`` with ``entries`` of the strategies' group."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in entries.items())
    (info / "entry_points.txt").write_text(f"[exitbench.strategies]\n{lines}")
    backbones.names.find_installed.cache_clear()
    importlib.invalidate_caches()


def install_broken(site: Path, *names: str) -> None:
    for name in names:
        source, attribute, _ = BROKEN[name]
        module = f"plugged_{name}"
        if source is not None:
            (site / f"{module}.py").write_text(source)
        install(site, module, **{name: module if attribute is None else f"{module}:{attribute}"})


VALUES = """
from strategies.elbert import ElbertMono as Known
from elsewhere import Foreign

class Base(Foreign):
    family: str = "learned"

class Own(Base):
    version = 3

class Heir(Known): ...

class Lone(Foreign): ...
"""


def test_a_value_of_a_class_is_read_without_importing_it(site: Path) -> None:
    """Its own, its base's in the same module, or that of a base from another module of ours."""
    (site / "plugged_values.py").write_text(VALUES)
    table = {name: f"plugged_values:{name.capitalize()}" for name in ("own", "heir", "lone", "nobody")}
    read = Registry("strategy", {**table, "lost": "plugged_nowhere:Own"}).read_value
    found = [read(name, "family") for name in ("own", "heir", "lone", "nobody", "lost")]
    assert found == ["learned", "windows and patience", None, None, None]
    assert read("own", "version") == 3
    assert "plugged_values" not in sys.modules


def test_the_closest_name_is_suggested_or_all_are_listed() -> None:
    assert suggest_name("jont", ["joint", "deebert"]) == "Did you mean 'joint'?"
    assert suggest_name("elbrt", ["deebert", "elbert-mono"]) == "Did you mean 'elbert-mono'?"
    assert suggest_name("deebrt", ["deebert", "elbert-mono"]) == "Did you mean 'deebert'?"
    assert suggest_name("zzz", ["b", "a"]) == "Known: a, b."
    assert suggest_name("zzz", [f"name{i}" for i in range(200)]).endswith(" and 140 more.")
    assert suggest_name("zzz", []) == "Known: none."
    assert str(make_unknown_error("key", "lim", ["limit"], " in defaults")) == (
        "Unknown key 'lim' in defaults. Did you mean 'limit'?"
    )


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plug_in_is_one_line_when_it_is_used(
    name: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_broken(site, name)
    with pytest.raises(UsageError, match=BROKEN[name][2]) as error:
        STRATEGIES.load(name)
    assert "\n" not in str(error.value)
    assert main(["run", "--strategy", name, "--task", "demo", "--results-dir", str(site / "results")]) == 2
    assert capsys.readouterr().err.endswith(f"Error: {error.value}\n")


def test_broken_plug_ins_are_listed_beside_what_works(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install_broken(site, *BROKEN)
    (site / "plugged_good.py").write_text(GOOD)
    install(site, "plugged_good", own="plugged_good:Own")
    install(site, "plugged_thief", entropy="plugged_good:Own")
    assert main(["list", "strategies", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    said = {row["name"]: row["what"] for row in rows if "plugged" in row["what"] or row["name"] in (*BROKEN, "own")}
    assert said.pop("own") == "My own rule."
    assert said.pop("entropy") == "broken: plugged_good:Own of an installed package has a built-in's name"
    assert set(said) == set(BROKEN)
    assert all(what.startswith("broken: ") for what in said.values())
    assert len(rows) == len(STRATEGIES.builtin) + len(BROKEN) + 2
    assert STRATEGIES.load("entropy").__module__ == "strategies.entropy"


def test_two_packages_that_disagree_are_refused(site: Path) -> None:
    install(site, "plugged_one", shared="plugged_one:Own")
    install(site, "plugged_two", shared="plugged_two:Own")
    with pytest.raises(UsageError, match=r"packages disagree what it is: plugged_\w+:Own or plugged_\w+:Own"):
        STRATEGIES.load("shared")


@pytest.mark.parametrize("target", ["os:abort", "http.server:test", "strategies.base:pool", "bench.tasks.base:Task"])
def test_what_is_no_strategy_is_refused_before_it_is_called(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--strategy", "--task"):
        other = ["--task", "demo"] if option == "--strategy" else ["--strategy", "entropy"]
        assert main(["run", option, target, *other, "--results-dir", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        lacks = option == "--task" and target == "bench.tasks.base:Task"
        assert ("cannot be used: it lacks load." if lacks else "cannot be used: it is no subclass of") in said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("(Strategy): pass", "it lacks criterion, head, name, recipe."),
        ("(Entropy): head = __import__('os').abort", "its head is no subclass of strategies.head.Head."),
        ("(Entropy): head = 'os:abort'", "its head is no subclass of strategies.head.Head."),
        ("(Entropy): recipe = 5", "its recipe is no subclass of strategies.base.Recipe."),
        ("(Entropy): criterion = Criterion", "its criterion lacks step."),
        ("(Entropy): name = 5", "its name is no text."),
        ("(Entropy): version = 'x'", "it has a version that is no whole number."),
    ],
)
def test_a_strategy_whose_parts_are_none_is_one_line(
    body: str, said: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imports = "from strategies.base import Criterion, Strategy\nfrom strategies.entropy import Entropy\n"
    (site / "plugged_parts.py").write_text(f"{imports}class Own{body}\n")
    words = ["--strategy", "plugged_parts:Own", "--task", "demo", "--results-dir", str(site / "results")]
    assert main(["run", *words]) == 2
    assert capsys.readouterr().err.endswith(f"Strategy 'plugged_parts:Own' cannot be used: {said}\n")


def test_a_relative_module_is_said_to_be_none() -> None:
    with pytest.raises(UsageError, match=r"Strategy '\.\.:x' cannot be used: '\.\.' is no module name\."):
        STRATEGIES.load("..:x")


@pytest.mark.parametrize("name", [":", "a:", ":b", "..:x", ".a:x", "a b:c"])
def test_what_is_no_module_and_class_is_one_line(name: str) -> None:
    with pytest.raises(UsageError):
        STRATEGIES.load(name)


def test_a_foreign_name_imports_no_module(site: Path) -> None:
    (site / "plugged_file.py").write_text(f"{GOOD}open({str(site / 'ran')!r}, 'w')\n")
    with distrust_names():
        with pytest.raises(UsageError, match="names a module of its maker's, which is run only with --allow-imports"):
            STRATEGIES.load("plugged_file:Own")
        assert STRATEGIES.load("entropy").name == "entropy"
        with trust_names(False), pytest.raises(UsageError, match="--allow-imports"):
            STRATEGIES.load("plugged_file:Own")
        assert not (site / "ran").exists()
        with trust_names():
            assert STRATEGIES.load("plugged_file:Own").name == "own"
        assert (site / "ran").exists()


def test_a_foreign_name_may_be_of_a_module_that_was_imported_before(site: Path) -> None:
    (site / "plugged_here.py").write_text(f"{GOOD}def __getattr__(name): open({str(site / 'ran')!r}, 'w')\n")
    own = STRATEGIES.load("plugged_here:Own")
    with distrust_names():
        assert STRATEGIES.load("plugged_here:Own") is own
        for name in ("plugged_here:Other", "os:abort"):
            with pytest.raises(UsageError, match="cannot be used"):
                STRATEGIES.load(name)
    assert not (site / "ran").exists()


def test_a_mistake_of_ours_keeps_its_traceback(site: Path) -> None:
    (site / "plugged_ours.py").write_text("raise KeyError('mine')\n")
    ours: Registry[type] = Registry("thing", {"ours": "plugged_ours:Thing"}, base="builtins:object")
    with pytest.raises(KeyError, match="mine"):
        ours.load("ours")


def test_packages_are_read_once_for_an_import_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "entropy" in STRATEGIES
    assert list(STRATEGIES)
    before = backbones.names.find_installed.cache_info()
    assert "no such" not in STRATEGIES
    assert list(STRATEGIES)
    after = backbones.names.find_installed.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 2)
    monkeypatch.syspath_prepend(site / "more")
    assert "no such" not in STRATEGIES
    assert backbones.names.find_installed.cache_info().misses == before.misses + 1
