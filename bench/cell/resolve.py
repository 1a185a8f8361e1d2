"""From what a user asks to a frozen spec: names looked up, defaults filled in, nonsense refused."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from backbones.catalog import BACKBONES, Init, is_demo
from backbones.names import blame_maker
from bench.cell.command import write_from_here, write_task_from_here
from bench.cell.request import Request
from bench.errors import UsageError
from bench.inference.placement import find_device
from bench.latency import PROTOCOLS, is_former_protocol
from bench.measure.rules import Rule
from bench.results.spec import LatencyArgs, RunSpec
from bench.settings import bind_arguments, coerce_value, list_settable, split_settings
from bench.tasks import TASKS, get_task
from bench.training.args import TrainArgs
from strategies import HEADS, RECIPES, STRATEGIES

if TYPE_CHECKING:
    from bench.tasks.base import Task
    from strategies.base import Criterion, Head, Recipe, Strategy

PREFIXES = ("backbone", "criterion", "head", "recipe", "train", "latency")

AUTO_POOLING = "auto"
"""The pooling of a head whose exits are fitted on kept states, where none is asked for: the better one."""
USUAL_TRAINING: Mapping[str, Mapping[str, object]] = {
    "pretrained": {"lr": 5e-5, "epochs": 3.0},
    "finetuned": {"lr": 5e-5, "epochs": 3.0},
    "scratch": {"lr": 5e-4, "epochs": 5.0},
}
"""A pretrained encoder is trained gently (the papers' 2e-5 to 5e-5); one from scratch has to learn everything."""

T = TypeVar("T", TrainArgs, LatencyArgs)


@dataclass(frozen=True)
class Parts:
    """The classes behind the names of a spec."""

    strategy: type[Strategy]
    head: type[Head]
    recipe: type[Recipe]
    task: Task
    given: str | None = None
    """The task as it was typed, where that is no listed name."""
    free: frozenset[str] = frozenset()
    """Of the spec's init and max_length those that nobody asked for: what the backbone is decides."""

    def versions(self, outputs: int) -> dict[str, int]:
        """Return what raises the identity of a result with so many ``outputs`` when a rule changes."""
        own = {name: getattr(part, "version", 1) for name, part in (("head", self.head), ("recipe", self.recipe))}
        return {"strategy": find_version(self.strategy, outputs), **own}

    def list_wrapped_versions(self, spec: RunSpec, outputs: int) -> tuple[int, ...]:
        """Return the versions of the strategies whose criteria the spec's is wrapped around, the outermost first."""
        return tuple(find_version(inner, outputs) for inner in self.list_wrapped(spec))

    def list_wrapped(self, spec: RunSpec) -> tuple[type[Strategy], ...]:
        """Return the strategies whose criteria the spec's is wrapped around, the outermost first."""
        return list_wrapped(self.strategy.criterion, spec.criterion_args.get("of"))

    def criterion(self, spec: RunSpec) -> Criterion:
        """Return the criterion with the spec's arguments."""
        with blame_maker(self.strategy.criterion, f"Criterion of '{spec.strategy}'"):
            return self.strategy.criterion(**spec.criterion_args)


def find_version(strategy: type[Strategy], outputs: int) -> int:
    """Return the version of results with so many ``outputs``. Raises UsageError where it is no whole number."""
    found = strategy.version_for(outputs)
    if not isinstance(found, int):
        raise UsageError(f"Strategy '{strategy.name}': version_for must give a whole number, not {found!r}.")
    return found


def find_overrides(strategy: type[Strategy], arguments: Mapping[str, object]) -> dict[str, object]:
    """Return what ``strategy`` changes of the backbone. Raises UsageError where that is no dict."""
    found = strategy.backbone_overrides(arguments)
    if not isinstance(found, dict):
        raise UsageError(f"Strategy '{strategy.name}': backbone_overrides must give a dict, not {found!r}.")
    return found


def is_timed(spec: RunSpec, parts: Parts) -> bool:
    """Return whether time is asked for and can be measured: an oracle cannot run live."""
    return spec.latency is not None and parts.strategy.criterion.causal


def list_wrapped(criterion: type[Criterion], of: str | None) -> tuple[type[Strategy], ...]:
    """Return those of a wrapper around ``of``; a wrapper that is wrapped itself has its default there, None."""
    around: Callable[[str], type[Strategy]] | None = getattr(criterion, "find_strategy", None)
    if around is None:
        return ()
    inner = around(of or list_settable(criterion)["of"].default)
    return (inner, *list_wrapped(inner.criterion, None))


def resolve_request(request: Request) -> tuple[RunSpec, Parts]:
    """Return the spec with every default written out, and the classes behind its names.

    Raises UsageError for what makes no sense.
    """
    strategy = STRATEGIES.load(request.strategy)
    task = get_task(request.task)
    published = find_preset(strategy, request.preset, task.name)
    # a paper's settings of its recipe and head say nothing about another's
    replaced = ("recipe.",) * (request.recipe is not None) + ("head.",) * (request.head is not None)
    settings = {k: v for k, v in published.items() if not k.startswith(replaced)} | dict(request.settings)
    groups = split_settings(settings, PREFIXES)
    head_name, head = find_part(HEADS, request.head, strategy, "head")
    recipe_name, recipe = find_part(RECIPES, request.recipe, strategy, "recipe")
    own = dict(groups[""])
    asked = {"init": request.init, "max_length": own.get("max_length")}
    free = frozenset(name for name, value in asked.items() if value is None)
    max_length = own.pop("max_length", task.max_length)
    if not isinstance(max_length, int):
        raise UsageError(f"max_length must be a whole number, not '{max_length}'.")
    timing = make_settings(LatencyArgs, groups["latency"], "latency")  # checked also where nothing is timed
    if is_former_protocol(timing.protocol):
        known = ", ".join(PROTOCOLS)
        raise UsageError(f"latency.protocol must be one of {known}: {timing.protocol} is only read any more.")
    places = {"train": set(get_type_hints(TrainArgs)), "latency": set(get_type_hints(LatencyArgs))}
    places |= {name: set(list_settable(part)) for name, part in (("head", head), ("recipe", recipe))}
    criterion_args = bind_criterion(strategy, {**own, **groups["criterion"]}, places)
    backbone = request.backbone or task.default_backbone
    is_scratch = is_demo(backbone)
    if is_scratch and request.init == "finetuned":
        raise UsageError(f"--init finetuned: '{backbone}' is made from scratch and has no classifier of its own.")
    init: Init = "scratch" if is_scratch else request.init or "pretrained"
    head_args = bind_head(head, groups["head"], head_name, backbone, can_fit_on_states(head, recipe))
    spec = RunSpec(
        strategy=strategy.name if request.strategy in STRATEGIES else request.strategy,
        task=task.name,
        backbone=write_from_here(backbone),
        head=head_name,
        recipe=recipe_name,
        init=init,
        criterion_args=criterion_args,
        head_args=head_args,
        recipe_args=bind_arguments(recipe, groups["recipe"], f"recipe '{recipe_name}'"),
        backbone_args=groups["backbone"],
        train=make_settings(TrainArgs, {**asdict(find_usual_training(init, task)), **groups["train"]}, "train"),
        max_length=max_length,
        limit=request.limit,
        seed=request.seed,
        dtype=request.dtype,
        device=find_device(request.device),
        thresholds=request.thresholds,
        select=tuple(Rule.parse(text).format() for text in request.select),
        latency=timing if request.latency else None,
    )
    given = None if request.task in TASKS else write_task_from_here(request.task)
    parts = Parts(strategy, head, recipe, task, given, free)
    if spec.thresholds:
        criterion = parts.criterion(spec)
        for threshold in spec.thresholds:
            criterion.cut_at(threshold)  # raises before anything is trained
    return spec, parts


def bind_criterion(
    strategy: type[Strategy], given: Mapping[str, object], places: Mapping[str, Container[str]]
) -> dict[str, object]:
    """Return every argument of a strategy's criterion.

    Raises UsageError, which suggests the part that an argument belongs to where the criterion does not have it:
    ``places`` are what may be set of the others.
    """
    try:
        return bind_arguments(strategy.criterion, given, f"strategy '{strategy.name}'")
    except UsageError as error:
        for key in given:
            meant = [f"'{place}.{key}'" for place, names in places.items() if key in names]
            if meant and key not in list_settable(strategy.criterion):
                raise UsageError(
                    f"Unknown argument '{key}' of strategy '{strategy.name}'. Did you mean {' or '.join(meant)}?"
                ) from error
        raise


def find_usual_training(init: str, task: Task) -> TrainArgs:
    """Return how a backbone is trained where nobody asks for anything else; a task's own settings are from scratch."""
    own = task.training if init == "scratch" else {}
    return make_settings(TrainArgs, {**USUAL_TRAINING[init], **own}, "train")


def can_fit_on_states(head: type[Head], recipe: type[Recipe]) -> bool:
    """Return whether the exits of ``head`` are fitted on states that are kept from one pass of a frozen backbone."""
    from strategies.exits_only import can_read_pooled

    return recipe.state_fit is not None and can_read_pooled(head)


def bind_head(
    head: type[Head], given: Mapping[str, object], name: str, backbone: str, chooses: bool
) -> dict[str, object]:
    """Return every argument of a head; the pooling that nobody gives is the backbone's usual one.

    Where fitting the exits ``chooses`` the pooling, it is "auto".
    """
    if "pooling" not in list_settable(head):
        return bind_arguments(head, given, f"head '{name}'")
    if chooses and given.get("pooling", AUTO_POOLING) == AUTO_POOLING:
        others = {k: v for k, v in given.items() if k != "pooling"}
        return {**bind_arguments(head, others, f"head '{name}'"), "pooling": AUTO_POOLING}
    usual = {"pooling": BACKBONES[backbone].pooling} if backbone in BACKBONES else {}
    return bind_arguments(head, {**usual, **given}, f"head '{name}'")


def find_preset(strategy: type[Strategy], preset: str | None, task: str) -> dict[str, object]:
    """Return the published hyper-parameters of ``strategy`` for ``task``; nothing where no preset is asked for."""
    if preset is None:
        return {}
    if preset != "paper":
        raise UsageError(f"Unknown preset '{preset}'. Known: paper.")
    if not strategy.presets:
        raise UsageError(f"Strategy '{strategy.name}' has no published hyper-parameters; leave --preset out.")
    if "*" not in strategy.presets and task not in strategy.presets:
        raise UsageError(
            f"Strategy '{strategy.name}' has no published hyper-parameters for task '{task}', only for "
            f"{', '.join(strategy.presets)}; leave --preset out."
        )
    return {**strategy.presets.get("*", {}), **strategy.presets.get(task, {})}


def make_settings(kind: type[T], given: Mapping[str, Any], what: str) -> T:
    """Return a settings dataclass, each value checked against its annotation."""
    hints = get_type_hints(kind)
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name not in hints:
            raise UsageError(f"Unknown setting '{what}.{name}'. Known: {', '.join(sorted(hints))}.")
        made[name] = coerce_value(value, hints[name], f"{what}.{name}")
    return kind(**made)


def find_part(registry: Any, name: str | None, strategy: type[Strategy], kind: str) -> tuple[str, Any]:
    """Return a head or recipe and its name; None and a strategy's name stand for that strategy's own.

    A strategy's own is named as it is listed, else after the strategy.
    """
    if name is not None and (name in registry or name not in (*STRATEGIES, strategy.name)):
        return name, registry.load(name)
    owner = STRATEGIES.load(name) if name in STRATEGIES and name is not None else strategy
    part = getattr(owner, kind)
    target = f"{part.__module__}:{part.__name__}"
    return next((listed for listed, place in registry.table.items() if place == target), owner.name), part


def refuse_nonsense(spec: RunSpec, criterion: Criterion, recipe: Recipe, head: Head) -> None:
    """Raise UsageError, with the reason, for a combination that makes no sense."""
    if reason := criterion.refuse(head.num_outputs):
        raise UsageError(f"Strategy '{spec.strategy}' cannot be used for task '{spec.task}': {reason}.")
    if reason := recipe.refuse(head):
        raise UsageError(f"Recipe '{spec.recipe}' cannot be used with head '{spec.head}': {reason}.")
    if criterion.uses_early_exits and not recipe.trains_early_exits(head):
        raise UsageError(
            f"Recipe '{spec.recipe}' trains the last exit only, and an untrained exit may not answer: "
            f"take another --recipe for strategy '{spec.strategy}', or a head that shares its parameters."
        )
