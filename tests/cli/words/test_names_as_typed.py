"""Names, options and seeds as people type them: read as what is meant, said where it is not obvious, never recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from backbones.catalog import BACKBONES, find_backbone_name
from backbones.names import Registry, find_name
from bench.cell.request import Request
from bench.cell.resolve import resolve_request
from bench.cli.app import COMMANDS
from bench.cli.foreign import OTHERS, SETTINGS, read_foreign_options
from bench.cli.process import main
from bench.cli.session import Session, split_seeds
from bench.errors import UsageError
from bench.results.store import Only
from bench.tasks import TASKS, find_task_name
from strategies import HEADS, PUBLISHED, RECIPES, STRATEGIES, STRATEGY_GROUPS, list_group
from tests.helpers.command_lines import parameters

REGISTRIES: Mapping[str, Registry[Any]] = {
    "strategy": STRATEGIES, "task": TASKS, "head": HEADS, "recipe": RECIPES
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"strategy": "ELBERT-Mono", "task": "Demo"}, {}),
        ({"strategy": "elbert", "task": "DEMO"}, {}),
        ({"strategy": "elbert_mono", "task": "demo", "backbone": "ALBERT-demo"}, {"backbone": "albert-demo"}),
        ({"strategy": "Elbert", "task": "demo", "recipe": "ELBERT"}, {"recipe": "elbert"}),
        ({"strategy": "elbert-mono", "task": "demo", "head": "Shared"}, {"head": "shared"}),
        ({"strategy": "PABEE", "task": "SST-2"}, {"strategy": "patience", "task": "sst2"}),
        ({"strategy": "entropy", "task": "demo", "recipe": "PABEE"}, {"strategy": "entropy", "recipe": "patience"}),
    ],
)  # fmt: skip
def test_a_request_has_the_listed_names(given: dict[str, str], meant: dict[str, str]) -> None:
    asked, plain = Request(**given), Request(**{"strategy": "elbert-mono", "task": "demo", **meant})
    assert asked == plain
    assert resolve_request(asked)[0] == resolve_request(plain)[0]  # so that no identity can differ


@pytest.mark.parametrize("name", ["my_module:Rule", "nobody/Bert-Base", "No-Such", "./Demo"])
def test_what_is_not_listed_stays_as_it_is(name: str) -> None:
    asked = Request(strategy=name, task=name, backbone=name, recipe=name, head=name)
    assert {asked.strategy, asked.task, asked.backbone, asked.recipe, asked.head} == {name}


def test_a_folder_wins_over_a_name_in_another_case(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Demo", "BERT-Base"):
        (tmp_path / name).mkdir()
    if (tmp_path / "demo").exists():  # a file system that knows no case has no such folder beside the name
        return
    assert find_task_name("Demo") == "Demo"
    assert find_backbone_name("BERT-Base") == "BERT-Base"
    assert find_task_name("demo") == "demo"


@pytest.mark.parametrize("kind", [*REGISTRIES, "backbone"])
def test_no_two_names_are_spelled_alike(kind: str) -> None:
    known = list(REGISTRIES[kind]) if kind in REGISTRIES else list(BACKBONES)
    assert all(find_name(name.upper(), known) == name for name in known)
    assert all(find_name(name.replace("-", "_"), known) == name for name in known)


def test_other_names_stand_for_listed_ones_and_hide_none() -> None:
    assert set(STRATEGIES.aliases.values()) <= set(STRATEGIES.builtin)
    assert not {*STRATEGIES.aliases, *STRATEGY_GROUPS} & set(STRATEGIES.builtin)
    assert set(PUBLISHED) <= set(STRATEGIES.builtin)
    assert list_group("all") == tuple(STRATEGIES)


def test_only_means_runs_under_the_listed_name_and_the_typed_one() -> None:
    only = Only.named("SST-2, Mine", "BERT-base")
    assert {"sst2", "Mine", "SST-2"} == only.tasks
    assert "bert-base" in only.backbones


@pytest.mark.parametrize(
    ("text", "found", "says"),
    [
        ("elbert", ["elbert-mono"], "'elbert' is read as elbert-mono. ELBERT with the paper's default window"),
        ("PABEE,entropy", ["patience", "entropy"], "'PABEE' is read as patience. PABEE: "),
        ("paper", list(PUBLISHED), "--strategy paper: elbert-mono, deebert, fastbert, patience, romebert."),
        ("entropy,all", ["entropy", *(n for n in STRATEGIES if n != "entropy")], "--strategy all: "),
        ("ENTROPY,entropy", ["entropy"], ""),
        ("my:Rule", ["my:Rule"], ""),
    ],
)
def test_strategies_as_typed(text: str, found: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Session().read_strategies(text) == found
    said = capsys.readouterr().err
    assert says in said
    assert bool(said) == bool(says)
    assert Session(quiet=True).read_strategies(text) == found
    assert capsys.readouterr().err == ""


def test_one_strategy_is_not_several() -> None:
    assert Session(quiet=True).read_strategy("Elbert") == "elbert-mono"
    with pytest.raises(UsageError, match="takes one strategy here, not 5"):
        Session(quiet=True).read_strategy("paper")


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0-4", [0, 1, 2, 3, 4]), ("0,2,5-7", [0, 2, 5, 6, 7]), ("3-3,3", [3]), ("1-2, 9", [1, 2, 9])],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert split_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-", "1-2-3", "4-0", "0-99999999", "1.5", "0,,1", "²-3"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--seed"):
        split_seeds(text)


@pytest.mark.parametrize(
    ("typed", "read", "said"),
    [
        ("--tasks demo --strategies entropy", "--task demo --strategy entropy", ""),
        ("--model bert-base", "--backbone bert-base", "--model is read as --backbone."),
        ("--model=bert-base", "--backbone=bert-base", "--model is read as --backbone."),
        ("--epochs 3", "--set train.epochs=3", "--epochs is read as --set train.epochs=3."),
        ("--lr=1e-4", "--set train.lr=1e-4", "--lr is read as --set train.lr=1e-4."),
        ("--batch_size 8", "--set train.batch_size=8", "--batch_size is read as --set train.batch_size=8."),
        ("--output here", "--results-dir here", "--output is read as --results-dir."),
        ("--results_dir here --no_latency", "--results-dir here --no-latency", ""),
        ("--lr", "--set", "--lr is read as --set train.lr=VALUE."),
        ("--task --model -- --model", "--task --model -- --model", ""),
        ("--set --lr", "--set --lr", ""),
        ("-o --tasks -q", "-o --tasks -q", ""),
        ("--no-such 1", "--no-such 1", ""),
    ],
)
def test_options_of_other_tools(typed: str, read: str, said: str) -> None:
    found, notes = read_foreign_options(typed.split(), parameters("run"))
    assert (" ".join(found), " ".join(notes)) == (read, said)


@pytest.mark.parametrize("verb", COMMANDS)
def test_no_command_has_an_option_read_as_another_that_it_has_itself(verb: str) -> None:
    own = [option for p in parameters(verb) for option in (*p.opts, *p.secondary_opts) if option.startswith("--")]
    for option in own:
        assert read_foreign_options([option, "x"], parameters(verb)) == ([option, "x"], [])
    for other in OTHERS:
        read, _ = read_foreign_options([f"--{other}", "x"], parameters(verb))
        assert read[0] in (f"--{other}", *own)


def test_settings_for_others_options_are_known_ones() -> None:
    request = Request("elbert-mono", "demo")
    known = {f"train.{name}" for name in vars(resolve_request(request)[0].train)}
    assert set(SETTINGS.values()) <= {*known, "max_length", "window", "patience"}


@pytest.mark.parametrize(
    ("setting", "meant"),
    [("lr=1", "'train.lr'"), ("epochs=1", "'train.epochs'"), ("pooling=mean", "'head.pooling'"),
     ("samples=1", "'latency.samples'"), ("window=4", "")],
)  # fmt: skip
def test_a_setting_of_another_part_is_suggested(setting: str, meant: str) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(UsageError, match=f"Unknown argument '{key}' of strategy 'entropy'") as error:
        resolve_request(Request("entropy", "demo", settings={key: value}))
    assert (f"Did you mean {meant}" in str(error.value)) == bool(meant)


def test_a_command_line_of_another_tool_ends_in_the_same_plan(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = "run --strategy elbert-mono --task demo --seed 0,1 --set train.steps=2 --results-dir r --dry-run --json -q"
    other = "run --strategies ELBERT --tasks Demo --seeds 0-1 --max_steps 2 --output_dir r --dry-run --json --quiet"
    plans = []
    for line in (plain, other):
        assert main(line.split()) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        plans.append([line for line in printed.out.splitlines() if '"cell"' in line or '"training"' in line])
    assert plans[0] == plans[1]
    assert plans[0]
