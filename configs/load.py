"""Load YAML files, apply --set changes, and return a checked BuildConfig."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from configs.console.quoting import set_option
from configs.errors import ConfigError
from configs.external_members import TIMM, split_members, timm_members
from configs.schema import AT, NAME, BuildConfig, Competition, Ensemble, Member, Recipe

HERE = Path(__file__).parent
MOST_VALUES = 100_000  # per file; nested aliases can expand a few lines to 10^9 values
M = TypeVar("M", bound=BaseModel)


class _Yaml(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number (YAML 1.1 requires 1.0e-3) and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without duplicate keys. Plain YAML would silently use the last of two equal keys."""
        plain = (key for key, _ in node.value if not key.tag.endswith(":merge"))
        keys = [self.construct_object(key, deep=True) for key in plain]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_build_config(
    members: Sequence[str],
    *,
    competition: str = "drawn",
    layout: str | None = None,
    recipe: str | None = None,
    sets: Iterable[str] = (),
    folder: Path = HERE,
) -> BuildConfig:
    """Read the YAML files, apply the competition's keys, a named recipe and the --set changes, and check the whole.

    Args:
        members: in the order of the result. Names from `members.yaml`, timm models (`timm:MODEL`, `NAME=timm:MODEL`),
            both optionally with a seed (`r50@1`), and feature files made by other code.
        competition: a file in `competitions/`, without `.yaml`, or any FILE.yaml.
        layout: replaces the competition's layout.
        recipe: a file in `recipes/`, without `.yaml`, or any FILE.yaml, with changes of `recipe.yaml` and of every
            member.
        sets: `recipe.epochs=3`, `ensemble.lam=0.5`, `competition.ap=hits`, `members.r50.head=global`.
        folder: the folder of the YAML files.

    Raises:
        ConfigError: a name or a key does not exist, or a value is not allowed. The message lists what is allowed.
    """
    tables = {
        "recipe": _read(folder / "recipe.yaml"),
        "ensemble": _read(folder / "ensemble.yaml"),
        "members": _read(folder / "members.yaml"),
        "competition": _read_competition(folder, competition) | ({"layout": layout} if layout else {}),
    }
    changes = list(sets)
    for change in (c for c in changes if _of_competition(c)):  # first: it may change the recipe
        _apply(tables, change)
    chosen = checked(Competition, tables["competition"], f"competition {competition}")
    tables["recipe"] |= chosen.recipe
    names = _take_timm(tables["members"], members)
    listed = set(tables["members"])
    of_each = {} if recipe is None else _name_recipe(tables, folder, recipe)
    for change in (c for c in changes if not _of_competition(c)):
        _apply(tables, change)
    for name in set(tables["members"]) - listed:  # members made on the command line also get the named recipe
        if isinstance(tables["members"][name], dict) and AT not in name:  # a member with a seed copies its base
            tables["members"][name] = of_each | tables["members"][name]
    how = checked(Recipe, tables["recipe"], "configs/recipe.yaml")
    inside, outside = split_members(names)
    _take_seeds(tables["members"], inside, how)
    wanted = _pick(inside, tables["members"], alone=not outside)
    every = [*(m.name for m in wanted), *(o.name for o in outside)]
    ensemble = checked(Ensemble, tables["ensemble"], "configs/ensemble.yaml")
    _check_weights("ensemble.weights", ensemble.weights, every)
    for domain, own in ensemble.domain_settings.items():
        _check_weights(f"ensemble.domain_settings.{domain}.weights", own.weights or {}, every)
    for member in wanted:
        checked(Recipe, how.model_dump() | member.own, f"members.{member.name}, laid over the shared recipe")
    return BuildConfig(
        members=wanted,
        recipe=how,
        ensemble=ensemble,
        competition=chosen,
        outside=outside,
    )


def load_competition(
    name: str, *, layout: str | None = None, sets: Iterable[str] = (), folder: Path = HERE
) -> Competition:
    """Load one competition, for a command that trains nothing.

    Args:
        name: a file in `competitions/`, without `.yaml`, or any FILE.yaml. layout: replaces its layout.
        sets: changes such as `competition.ap=hits`.

    Raises:
        ConfigError: as `load_build_config`.
    """
    tables = {"competition": _read_competition(folder, name) | ({"layout": layout} if layout else {})}
    for change in sets:
        _apply(tables, change)
    return checked(Competition, tables["competition"], f"competition {name}")


def load_ensemble(folder: Path = HERE) -> Ensemble:
    """The defaults in `ensemble.yaml`."""
    return checked(Ensemble, _read(folder / "ensemble.yaml"), "configs/ensemble.yaml")


def _parse(text: str) -> Any:
    """Parse YAML without object tags, of limited size.

    Raises:
        YAMLError: the text is not valid, or too large.
    """
    try:
        value = yaml.load(text, Loader=_Yaml)
    except (ValueError, RecursionError) as e:  # a date that is none, a number of 5,000 digits, 1,000 brackets
        raise yaml.YAMLError(f"cannot be read ({str(e)[:100]})") from e
    left, open_ = MOST_VALUES, [value]
    while open_:
        at = open_.pop()
        left -= 1
        if left < 0:
            raise yaml.YAMLError(f"more than {MOST_VALUES:,} values, aliases written out")
        open_ += [*at, *at.values()] if isinstance(at, dict) else at if isinstance(at, list | tuple | set) else []
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        value = _parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e}). It belongs to the project; restore it") from e
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from e
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds {type(value).__name__}; a mapping of keys to values is wanted")
    return value


def _read_competition(folder: Path, name: str) -> dict[str, Any]:
    path = _file_of(folder / "competitions", name, "competition")
    if not NAME.fullmatch(path.stem):
        raise ConfigError(
            f"{path}: {path.stem!r} cannot be a competition's name; wanted letters, digits, '_', '-', '.'"
        )
    return _read(path) | {"name": path.stem}


def _file_of(folder: Path, name: str, what: str) -> Path:
    """The path of a named file of the project, or of any file that ends in .yaml."""
    if name.endswith((".yaml", ".yml")) and os.path.isfile(name):
        return Path(name)
    there = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in there:
        known = f"configs/{folder.name} has: {', '.join(there)}"
        raise ConfigError(f"unknown {what} {name!r}; {known}; or name a file of yours that ends in .yaml")
    return folder / f"{name}.yaml"


def _of_competition(change: str) -> bool:
    return change.strip().startswith("competition.")


def _known(names: Iterable[str], allowed: Sequence[str], complaint: str, has: str) -> None:
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{complaint} {name!r}; {has}: {', '.join(allowed)}")


def _check_weights(where: str, weights: Mapping[str, float], members: Sequence[str]) -> None:
    _known(weights, members, f"{where} names member", "this build has")
    if not any(weights.get(name, 1) for name in members):
        raise ConfigError(f"{where} {dict(weights)}: every member has weight 0; one must count")


def _name_recipe(tables: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """Apply a named recipe: its `recipe` keys to the recipe, its `member` keys to every member.

    Returns:
        The `member` keys.
    """
    path = _file_of(folder / "recipes", name, "recipe")
    changes = _read(path)
    _known(list(changes), ("recipe", "member"), f"{path}: unknown key", "it knows")
    tables["recipe"] |= changes.get("recipe") or {}
    of_each: dict[str, Any] = changes.get("member") or {}
    for member, given in tables["members"].items():
        tables["members"][member] = _row(member, given) | of_each
    return of_each


def _take_timm(table: dict[str, Any], words: Sequence[str]) -> list[str]:
    """Add the named timm models to the table of members.

    Returns:
        All words, with a timm model replaced by its member's name.
    """
    names, models = timm_members(words)
    for name, model in models.items():
        if name in table:
            raise ConfigError(f"configs/members.yaml has a member {name!r}; give it another name: OTHER={TIMM}{model}")
        table[name] = {"backbone": {"name": "timm", "model": model}}
    return names


def _take_seeds(table: dict[str, Any], names: Sequence[str], recipe: Recipe) -> None:
    """Add members with a seed, `NAME@SEED`, to the table: the row of NAME with its `--set` changes and the seed.

    Raises:
        ConfigError: the seed is not valid, or two members have the same network and seed.
    """
    seen: dict[tuple[str, str], str] = {}
    for name in names:
        base, at, seed = name.partition(AT)
        if base not in table:
            continue  # an unknown member: `_pick` reports it
        row = _row(base, table[base])
        if at:
            if not seed.isascii() or not seed.isdigit() or str(int(seed)) != seed:
                raise ConfigError(
                    f"member {name!r}: {seed!r} is no seed; wanted NAME{AT}SEED, a whole number, such as {base}{AT}1"
                )
            row = table[name] = row | _row(name, table.get(name)) | {"seed": int(seed)}
        more = row.get("recipe")
        own = [x["seed"] for x in (row, more) if isinstance(x, dict) and x.get("seed") is not None]
        same = seen.setdefault((base, str(own[0] if own else recipe.seed)), name)
        if same != name:
            raise ConfigError(
                f"members {same!r} and {name!r} are one network with one seed; leave one out, or give it another seed"
            )


def _row(member: str, given: Any) -> dict[str, Any]:
    """A member's row of the table. An empty row means all defaults."""
    if given is not None and not isinstance(given, dict):
        raise ConfigError(
            f"members.{member} is {given!r}; wanted what differs from ResNet-50, such as {{backbone: {{name: resnet}}}}"
        )
    return dict(given or {})


def _pick(names: Sequence[str], table: Mapping[str, Any], alone: bool) -> tuple[Member, ...]:
    _known(names, list(table), "unknown member", "configs/members.yaml has")
    if not names and alone:
        raise ConfigError(f"no member named; configs/members.yaml has: {', '.join(table)}")
    twice = sorted({n for n in names if list(names).count(n) > 1})
    if twice:
        weight = set_option("ensemble.weights", {twice[0]: 2})
        raise ConfigError(f"member {twice[0]!r} is named twice; give it a weight ({weight})")
    every = {n: checked(Member, {"name": n} | _row(n, row), f"configs/members.yaml, {n}") for n, row in table.items()}
    return tuple(every[n] for n in names)  # other rows are checked too: a misspelt --set members.NAME makes a row


def _apply(tables: dict[str, Any], change: str) -> None:
    """Apply one change `a.b.c=value`. The value is parsed as YAML."""
    dotted, equals, text = change.partition("=")
    keys = dotted.strip().split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set {change!r}: wanted TABLE.KEY=VALUE, such as recipe.epochs=3")
    _known(keys[:1], list(tables), f"--set {change!r}: unknown table", "there are")
    try:
        value = _parse(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"--set {change!r}: {text!r} is not a YAML value") from e
    at = tables
    for key in keys[:-1]:
        if not isinstance(at.setdefault(key, {}), dict):
            raise ConfigError(f"--set {change!r}: {key!r} holds {at[key]!r}, which has no keys of its own")
        at = at[key]
    at[keys[-1]] = value


def checked(model: type[M], value: Any, where: str) -> M:
    """Validate a value by a model of `configs/schema.py`.

    Raises:
        ConfigError: the value is not valid. `where` begins the message.
    """
    try:
        return model.model_validate(value)
    except ValidationError as e:
        raise ConfigError(f"{where}: " + "; ".join(_sentence(model, dict(err)) for err in e.errors())) from e


def _sentence(model: type[BaseModel], err: dict[str, Any]) -> str:
    """One pydantic error in words. For an unknown key, it lists the known keys."""
    at = ".".join(str(x) for x in err["loc"] if not str(x).startswith(("constrained-", "literal[")))  # a union's sides
    if err["type"] == "extra_forbidden":
        return f"unknown key {at!r}; it knows: {', '.join(_keys_at(model, err['loc'][:-1]))}"
    if err["type"] == "missing":
        return f"key {at!r} is missing"
    if not at:  # an error of several keys: the message names them
        return str(err["msg"]).removeprefix("Value error, ")
    return f"{at}: {err['msg']} (came: {err['input']!r})"


def _keys_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys of the model at `loc`."""
    for step in loc:
        field = model.model_fields.get(str(step))
        if field is None:
            break
        inner = [t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(t, type)]
        model = next((t for t in inner if issubclass(t, BaseModel)), model)
    return list(model.model_fields)
