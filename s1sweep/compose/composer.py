"""Overrides of one cell to its config: what Hydra composes, each distinct part of it composed once.

A cell's config is made of parts, one for each top-level key. Hydra's own list of defaults says if the choices of a
group reach beyond its key; where they do (an experiment, a scale), they are composed together with all others. A part
is resolved and validated once for each distinct choice, values given by hand, and parts that it interpolates. Whatever
is out of the ordinary goes the long way, through Hydra's loader, which also says what is wrong with it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ConfigDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from s1sweep import typos
from s1sweep.errors import UserError, nearest
from s1sweep.spec import CellConfig, CellSpec

CELL_GROUPS = tuple(CellSpec.model_fields)
OTHER = tuple(name for name in CellConfig.model_fields if name not in ("cell", "choices", "overrides"))
KNOWN = {*CELL_GROUPS, *OTHER, "grids", "experiment", "scale"}

Texts = tuple[str, ...]
Signature = tuple[Texts, Texts, Texts]  # of a part: the choices that reach beyond their key, its own, its values


@dataclass(frozen=True)
class OverrideLine:
    """One override: the top-level key it is for, and if it chooses from a group."""

    text: str
    override: Override
    group: bool
    top: str


@dataclass(frozen=True)
class Frame:
    """A composition: top-level nodes before interpolation, and the choice of each group."""

    config: DictConfig
    choices: Mapping[str, str]
    defaults: Sequence[ResultDefault]
    apart: bool  # whether choices of groups can be composed apart: no default is named by another's choice
    known: bool = True  # whether its keys are fields of a cell


@dataclass(frozen=True)
class Part:
    """A top-level key's plain value before interpolation, and the other keys that it reads."""

    plain: Any
    reads: frozenset[str]


class _NeedsHydra(Exception):
    """A cell that is not made of parts."""


class Composer:
    """Composes cells of one primary config, sharing what cells have in common: equal parts are one object."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._name: str = master.hydra.job.config_name
        self._parser = OverridesParser.create()
        self._hydra = self._parser.parse_overrides(list(master.hydra.overrides.hydra))
        self._repository = _Repository(loader.repository)
        loader._process_config_searchpath(self._name, self._hydra, self._repository)
        self._spanning: set[str] = set()  # top-level keys whose choices reach beyond them
        self._lines: dict[str, OverrideLine] = {}
        self._bases: dict[Texts, tuple[DictConfig, dict[str, str]]] = {}
        self._frames: dict[tuple[str, Texts], Frame | None] = {}
        self._choices: dict[Texts, dict[str, str]] = {}
        self._parts: dict[tuple[str, Signature], Part] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def cell(self, overrides: Sequence[str]) -> CellConfig:
        """One validated cell. Raises UserError naming the field."""
        lines = [self._lines.get(text) or self._line(text) for text in overrides]
        try:
            return self._from_parts(lines)
        except (_NeedsHydra, HydraException, OmegaConfBaseException, ValidationError):
            return self._whole(lines)

    def _line(self, text: str) -> OverrideLine:
        [override] = self._parser.parse_overrides([text])
        # As Hydra decides it (create_defaults_list): a dict is a value even where a group has that name.
        group = self._repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        if group:
            refuse_nameless(override)
        key = override.package or override.key_or_group
        line = self._lines[text] = OverrideLine(
            text, override, group, _top(key, "/" if group and not override.package else "")
        )
        return line

    def _whole(self, lines: Sequence[OverrideLine]) -> CellConfig:
        """As Hydra does it, with every node of the config resolved."""
        groups = tuple(line.text for line in lines if line.group)
        if groups not in self._bases:
            hydra = [str(override.input_line) for override in self._hydra]
            base = self._loader.load_configuration(self._name, [*hydra, *groups], RunMode.RUN, from_shell=False)
            choices = _shown(base.hydra.runtime.choices)
            with open_dict(base):
                del base["hydra"]
            self._bases[groups] = base, choices
        base, choices = self._bases[groups]
        config = copy.deepcopy(base)
        ConfigLoaderImpl._apply_overrides_to_config([line.override for line in lines if not line.group], config)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        return _validated(plain, choices, [line.text for line in lines])

    # --- parts

    def _from_parts(self, lines: Sequence[OverrideLine]) -> CellConfig:
        groups: dict[str, list[str]] = {}
        values: dict[str, list[str]] = {}
        for line in lines:
            (groups if line.group else values).setdefault(line.top, []).append(line.text)
        spanning = tuple(line.text for line in lines if line.group and line.top in self._spanning)
        own = {top: tuple(texts) for top, texts in groups.items() if top not in self._spanning}
        for top, texts in own.items():
            if self._frame(top, texts, spanning) is None:
                self._spanning.add(top)
                return self._from_parts(lines)
        if not values.keys() <= set(_PARTS) or not self._whole_frame(spanning).known:
            raise _NeedsHydra
        signatures = {top: (spanning, own.get(top, ()), tuple(values.get(top, ()))) for top in _PARTS}
        made = {top: self._part_made(top, signatures) for top in _NEEDED}
        # Each part was validated by itself.
        return CellConfig.model_construct(
            _CONFIG_FIELDS,
            cell=CellSpec.model_construct(_CELL_FIELDS, **{group: made[group] for group in CELL_GROUPS}),
            **{name: made[name] for name in OTHER},
            choices=self._chosen(spanning, own),
            overrides=tuple([line.text for line in lines]),
        )

    def _part_made(self, top: str, signatures: Mapping[str, Signature]) -> Any:
        """The value of a top-level key, resolved and validated."""
        part = self._part(top, signatures[top])
        reads = part.reads and self._reads(part, signatures)
        key = (top, signatures[top], *((name, signatures[name]) for name in reads))
        if key not in self._made:
            parts = {name: self._part(name, signatures[name]).plain for name in reads}
            plain = _resolved(top, {**parts, top: part.plain}) if part.reads or _open(part.plain) else part.plain
            self._made[key] = _ADAPTERS[top].validate_python(plain)
        return self._made[key]

    def _reads(self, part: Part, signatures: Mapping[str, Signature]) -> list[str]:
        """The other keys that a part needs to be resolved, and those that they need."""
        found: set[str] = set()
        todo = set(part.reads)
        while todo:
            name = todo.pop()
            if name not in signatures:
                raise _NeedsHydra
            found.add(name)
            todo |= self._part(name, signatures[name]).reads - found
        return sorted(found)

    def _part(self, top: str, signature: Signature) -> Part:
        key = top, signature
        if key not in self._parts:
            spanning, own, values = signature
            frame = self._frame(top, own, spanning) if own else self._whole_frame(spanning)
            assert frame is not None, "a key whose choices reach beyond it has none of its own"
            config = OmegaConf.create({})
            node = frame.config._get_node(top)
            if node is not None:
                config[top] = node  # a copy
            OmegaConf.set_struct(config, True)
            ConfigLoaderImpl._apply_overrides_to_config([self._lines[text].override for text in values], config)
            plain = OmegaConf.to_container(config, resolve=False)
            if not isinstance(plain, dict) or set(plain) != {top}:
                raise _NeedsHydra
            self._parts[key] = Part(plain[top], frozenset(_names(plain[top])) - {top})
        return self._parts[key]

    # --- choices

    def _frame(self, top: str, texts: Texts, spanning: Texts) -> Frame | None:
        """The composition with one key's choices; None where they reach beyond it."""
        key = top, (*spanning, *texts)
        if key not in self._frames:
            base = self._whole_frame(spanning)
            try:
                found = self._defaults((*spanning, *texts))
            except HydraException:  # perhaps it goes with other choices only
                self._frames[key] = None
                return None
            choices = _shown(found.overrides.known_choices)
            changed = {k for k, v in choices.items() ^ base.choices.items()}
            defaults = [d for d in found.defaults if not _of_hydra(d)]
            beyond = [d for d in defaults if not _within(d, top)]
            if (
                not base.apart
                or not self._separable(defaults)
                or beyond != [d for d in base.defaults if not _within(d, top)]
                or any(_top(k.partition("@")[2] or k, "/") != top for k in changed)
            ):
                self._frames[key] = None
                return None
            needed = [d for d in defaults if _within(d, top) or not d.package]
            config = self._loader._compose_config_from_defaults_list(defaults=needed, repo=self._repository)
            self._frames[key] = Frame(config, choices, defaults, True)
        return self._frames[key]

    def _whole_frame(self, spanning: Texts) -> Frame:
        key = "", spanning
        if key not in self._frames:
            found = self._defaults(spanning)
            defaults = [d for d in found.defaults if not _of_hydra(d)]
            config = self._loader._compose_config_from_defaults_list(defaults=defaults, repo=self._repository)
            config.pop("hydra", None)
            choices = _shown(found.overrides.known_choices)
            known = KNOWN.issuperset(map(str, config))
            self._frames[key] = Frame(config, choices, defaults, self._separable(defaults), known)
        frame = self._frames[key]
        assert frame is not None
        return frame

    def _defaults(self, texts: Texts) -> DefaultsList:
        return create_defaults_list(
            repo=self._repository,
            config_name=self._name,
            overrides_list=[*self._hydra, *(self._lines[text].override for text in texts)],
            prepend_hydra=True,
            skip_missing=False,
        )

    def _separable(self, defaults: Sequence[ResultDefault]) -> bool:
        """Whether no default is named by the choice of another group."""
        loaded = [self._repository.loaded(str(d.config_path)) for d in defaults]
        given = [default for found in loaded if found for default in found.defaults_list or ()]
        return not any("${" in str(d.path if isinstance(d, ConfigDefault) else vars(d).get("value")) for d in given)

    def _chosen(self, spanning: Texts, own: Mapping[str, Texts]) -> dict[str, str]:
        """The choice of every group. Shared between cells: not to be changed."""
        key = (*spanning, "", *(text for texts in own.values() for text in texts))
        if key not in self._choices:
            base = self._whole_frame(spanning).choices
            choices = dict(base)
            for top, texts in own.items():
                frame = self._frame(top, texts, spanning)
                assert frame is not None
                for name in base.keys() - frame.choices.keys():
                    choices.pop(name, None)
                choices |= dict(frame.choices.items() - base.items())
            self._choices[key] = choices
        return self._choices[key]


class _Repository(CachingConfigRepository):
    """Keeps what it loads beyond one composition, which changes it: each gets copies."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        return copy.deepcopy(super().load_config(config_path))

    def loaded(self, config_path: str) -> ConfigResult | None:
        """Not to be changed."""
        return super().load_config(config_path)


def refuse_nameless(override: Override) -> None:
    """Raise UserError if what is given as the choice of a group can be none: Hydra would end in a traceback."""
    if not override.is_delete() and not isinstance(override.value(), str | list | dict):
        key = override.key_or_group
        raise UserError(f"{override.input_line}: a choice of {key} is a name. ~{key} leaves the group out.")


_NEEDED = (*CELL_GROUPS, *OTHER)
_CELL_FIELDS, _CONFIG_FIELDS = set(CellSpec.model_fields), set(CellConfig.model_fields)  # one for all: sets are large
_PARTS = (*_NEEDED, "scale")
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    for name, field in {**CellSpec.model_fields, **CellConfig.model_fields}.items()
    if name in _NEEDED
}


def _shown(choices: Mapping[Any, Any]) -> dict[str, str]:
    return {str(k): str(v) for k, v in choices.items() if not str(k).startswith("hydra/")}


def _top(key: str, separators: str = "") -> str:
    return re.split(rf"[.\[{separators}]", key, maxsplit=1)[0]


def _within(default: ResultDefault, top: str) -> bool:
    return default.package == top or str(default.package).startswith(f"{top}.")


def _of_hydra(default: ResultDefault) -> bool:
    return str(default.config_path).startswith("hydra/")


# --- interpolation --------------------------------------------------------------------------------------------------

_INTERPOLATION = re.compile(r"\$\{([^${}:,]*)(.?)", re.DOTALL)


def _strings(plain: Any, depth: int = 1) -> Iterator[tuple[str, int]]:
    if isinstance(plain, str):
        yield plain, depth
    elif isinstance(plain, dict | list):
        for value in plain.values() if isinstance(plain, dict) else plain:
            yield from _strings(value, depth + 1)


def _open(plain: Any) -> bool:
    """Whether a plain value has anything to resolve, or no value yet."""
    return any("${" in text or text == "???" for text, _ in _strings(plain))


def _names(plain: Any) -> Iterator[str]:
    """The top-level keys that a part's interpolations name; _NeedsHydra where they cannot be told."""
    for text, depth in _strings(plain):
        for match in _INTERPOLATION.finditer(text):
            name, after = match[1].strip(), match[2]
            if after == ":" and name == "oc.env":
                continue  # the same in every cell; interpolations within its arguments are found by themselves
            dots = len(name) - len(name.lstrip("."))
            if after == ":" or not name or dots >= depth or (after == "$" and not re.search(r"[.\[]", name[dots:])):
                raise _NeedsHydra
            if not dots:
                yield _top(name)


def _resolved(top: str, parts: Mapping[str, Any]) -> Any:
    value = OmegaConf.create(dict(parts))[top]
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


# --- validation -----------------------------------------------------------------------------------------------------


def _validated(plain: dict[Any, Any], choices: dict[str, str], overrides: Sequence[str]) -> CellConfig:
    for key in plain:
        if key not in KNOWN:
            raise UserError(
                f"{key}={plain[key]!r} is not a field.{nearest(str(key), KNOWN)} Fields: {', '.join(sorted(KNOWN))}."
            )
    value = {
        **{key: plain[key] for key in OTHER if key in plain},
        "cell": {key: plain[key] for key in CELL_GROUPS if key in plain},
        "choices": choices,
        "overrides": tuple(overrides),
    }
    try:
        return CellConfig.model_validate(value)
    except ValidationError as error:
        raise UserError("\n".join(typos.field_error(e, value) for e in error.errors())) from error
