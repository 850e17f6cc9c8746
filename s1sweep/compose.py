"""Overrides to cells: the one file, with its plugin, that knows Hydra and OmegaConf.

Hydra's grammar, groups and sweepers are used as they are; what is ours is speed. Composing a config takes Hydra 0.1
s, so it is
done once per distinct choice of groups, and value overrides are applied to copies.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from s1sweep.errors import SweepFailed, UserError, nearest
from s1sweep.spec import CellConfig

CONF = Path(__file__).parent / "conf"
_CELL_GROUPS = (
    *("pool", "curation", "data", "extrapolation", "method", "parallel", "scorer", "model", "train", "task"),
    "sampling",
)
_OTHER = ("name", "notes", "tags", "claims", "objective", "placement", "tracking")


@dataclass(frozen=True)
class CellReturn:
    """What a session says of one cell: its objective, or why there is none (None and None when only planned)."""

    objective: float | None
    error: str | None


Handler = Callable[[Sequence[CellConfig]], Sequence[CellReturn]]
_handler: Handler | None = None


def multirun(arguments: Sequence[str], handler: Handler) -> None:
    """Run Hydra on a command line's arguments; each batch of cells goes to `handler`. Raises UserError on bad input.

    Hydra's own flags work (-m, --cfg, --info, --config-dir, hydra/sweeper=...).
    """
    global _handler
    setbase("1.3")
    parsed = _parser().parse_args(list(arguments))
    overrides = [_renamed(line) for line in parsed.overrides]
    search = create_config_search_path(str(CONF.resolve()))
    if parsed.config_dir:
        # Hydra wants its own schemas to stay last.
        search.prepend("command-line", f"file://{Path(parsed.config_dir).absolute()}", anchor="schema")
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("s1sweep", search)
    name = parsed.config_name or "config"
    _handler = handler
    try:
        if parsed.cfg:
            hydra.show_cfg(name, overrides, parsed.cfg, parsed.package, parsed.resolve)
        elif parsed.info:
            hydra.show_info(parsed.info, name, overrides, RunMode.MULTIRUN if parsed.multirun else RunMode.RUN)
        else:
            if parsed.multirun:
                overrides = _fields_with_their_choices(overrides)
            else:
                _refuse_sweeps(overrides)
            hydra.multirun(name, lambda _: None, overrides, with_log_configuration=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, hydra.config_loader, name)) from error
    finally:
        _handler = None
        GlobalHydra.instance().clear()


def _renamed(line: str) -> str:
    """`data.pool=` is what people write for `pool=`; there is no field of that name."""
    return line.removeprefix("data.") if line.startswith("data.pool=") else line


def cells_of(arguments: Sequence[str]) -> list[CellConfig]:
    """The cells of a command line, in order, without running any."""
    cells: list[CellConfig] = []

    def keep(batch: Sequence[CellConfig]) -> list[CellReturn]:
        cells.extend(batch)
        return [CellReturn(None, None)] * len(batch)

    multirun(arguments, keep)
    return cells


def _parser() -> Any:
    parser = get_args_parser()
    parser.prog = "s1sweep run"
    return parser


def _refuse_sweeps(overrides: Sequence[str]) -> None:
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: several values need -m (--multirun). "
                "For one list value write key=[a,b]; for a comma in a string quote it."
            )


def _fields_with_their_choices(overrides: Sequence[str]) -> list[str]:
    """Fields of a group whose choice is swept, as axes of one value: Hydra looks for them in the default choice."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    swept = {o.get_key_element() for o in parsed if o.is_sweep_override()}
    return [
        f"{o.get_key_element()}=choice({o.get_value_element_as_str()})"
        if not o.is_sweep_override() and o.get_key_element().split(".")[0] in swept
        else line
        for o, line in zip(parsed, overrides, strict=True)
    ]


def launch(composer: Composer, batch: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What the Launcher plugin does: all cells of a batch to the handler, each answer as Hydra wants it."""
    assert _handler is not None, "the s1sweep launcher runs under `s1sweep run` and `s1sweep plan`"
    configs = [composer.cell(overrides) for overrides in batch]
    returns = []
    for overrides, answer in zip(batch, _handler(configs), strict=True):
        job = JobReturn()
        job.overrides = list(overrides)
        job.status = JobStatus.COMPLETED if answer.error is None else JobStatus.FAILED
        job.return_value = answer.objective if answer.error is None else SweepFailed(answer.error)
        returns.append(job)
    return returns


# --- grids ----------------------------------------------------------------------------------------------------------


def expand(arguments: Sequence[str], loader: ConfigLoader, master: DictConfig) -> list[list[str]]:
    """Every cell's overrides: the command line's grid, once for each sub-grid of the experiment.

    An axis given on the command line replaces the sub-grid's axis of the same name.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides(list(arguments))
    cells: list[list[str]] = []
    scale = [o for o in parsed if o.get_key_element() == "scale"]
    for line, others in _experiments(parsed):
        grids = _grids(loader, master, [*scale, *([line] if line else [])])
        for name, axes in (grids or {"": {}}).items():
            if not isinstance(axes, Mapping):
                raise UserError(f"grids.{name}={axes!r} is not valid. Give a mapping of keys to values.")
            wanted = parser.parse_overrides([f"{key}={_sweep_text(value)}" for key, value in axes.items()])
            cells += _product([*([line] if line else []), *wanted, *others])
    return cells


def _experiments(overrides: Sequence[Override]) -> list[tuple[Override | None, list[Override]]]:
    """Each chosen experiment apart, since each has its own sub-grids."""
    others = [o for o in overrides if o.get_key_element() != "experiment"]
    chosen = [o for o in overrides if o.get_key_element() == "experiment"]
    if not chosen:
        return [(None, others)]
    if not chosen[-1].is_sweep_override():
        return [(chosen[-1], others)]
    lines = [f"experiment={value}" for value in chosen[-1].sweep_string_iterator()]
    return [(override, others) for override in OverridesParser.create().parse_overrides(lines)]


def _grids(loader: ConfigLoader, master: DictConfig, chosen: Sequence[Override]) -> dict[str, Any]:
    """The sub-grids of an experiment, whose values may depend on the scale."""
    if not chosen:
        found = master.get("grids")
    else:
        lines = [*master.hydra.overrides.hydra, *map(_line, chosen)]
        found = loader.load_configuration(master.hydra.job.config_name, lines, RunMode.RUN).grids
    grids = OmegaConf.to_container(found, resolve=True) if found else {}
    assert isinstance(grids, dict)
    return {str(name): axes for name, axes in grids.items()}


def _line(override: Override) -> str:
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def _product(overrides: Sequence[Override]) -> list[list[str]]:
    """BasicSweeper's product, later overrides of a key replacing earlier ones in place."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(
                f"{override.input_line}: a grid needs listed values. Use a searching hydra/sweeper for intervals."
            )
    cells: list[list[str]] = [[]]
    for values in axes.values():
        cells = [[*cell, value] for cell in cells for value in values]
    return cells


def override_text(key: str, value: Any) -> str:
    """A value of Python as an override: a list is an axis, a tuple one list, a string Hydra's own grammar."""
    return f"{key}={_sweep_text(value)}"


def _sweep_text(value: Any) -> str:
    """A YAML value as Hydra's override text: a list is an axis, a string is Hydra's own grammar."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(_quoted(v) for v in value)
    return _quoted(value)


def _quoted(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(_quoted, value))}]"
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9_./\-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# --- cells ----------------------------------------------------------------------------------------------------------


class Composer:
    """Composes cells of one primary config, sharing what cells have in common."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._name = master.hydra.job.config_name
        self._hydra_overrides = list(master.hydra.overrides.hydra)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        self._parser = OverridesParser.create()

    def cell(self, overrides: Sequence[str]) -> CellConfig:
        """One validated cell. Raises UserError naming the field."""
        parsed = self._parser.parse_overrides(list(overrides))
        groups = [o for o in parsed if self._is_group(o)]
        values = [o for o in parsed if not self._is_group(o)]
        base, choices = self._base(groups)
        config = copy.deepcopy(base)
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        return _validated(plain, choices, overrides)

    def _is_group(self, override: Override) -> bool:
        # As Hydra decides it (create_defaults_list): a dict is a value even where a group has that name.
        return self._loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)

    def _base(self, groups: Sequence[Override]) -> tuple[DictConfig, dict[str, str]]:
        key = tuple(str(o.input_line) for o in groups)
        if key not in self._bases:
            config = self._loader.load_configuration(
                self._name, [*self._hydra_overrides, *key], RunMode.RUN, from_shell=False
            )
            choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if not k.startswith("hydra/")}
            with open_dict(config):
                del config["hydra"]
            self._bases[key] = config, choices
        return self._bases[key]


def _validated(plain: dict[Any, Any], choices: dict[str, str], overrides: Sequence[str]) -> CellConfig:
    known = {*_CELL_GROUPS, *_OTHER, "grids", "experiment", "scale"}
    for key in plain:
        if key not in known:
            raise UserError(
                f"{key}={plain[key]!r} is not a field.{nearest(str(key), known)} Fields: {', '.join(sorted(known))}."
            )
    value = {
        **{key: plain[key] for key in _OTHER},
        "cell": {key: plain[key] for key in _CELL_GROUPS},
        "choices": choices,
        "overrides": tuple(overrides),
    }
    try:
        return CellConfig.model_validate(value)
    except ValidationError as error:
        raise UserError("\n".join(_field_error(e, value) for e in error.errors())) from error


def _field_error(error: Any, value: dict[str, Any]) -> str:
    """`train.learning_rate='fast': input should be a valid number`, with the valid names for an unknown field."""
    # A union puts the tag or type it tried into the path; it is no part of the field's name.
    where = [part for part in error["loc"] if part != "cell"]
    found: Any = value
    shown = []
    for part in error["loc"]:
        tag = part in (found.get("kind"), found.get("by")) if isinstance(found, dict) else not isinstance(part, int)
        if tag:
            where.remove(part)
            continue
        if (isinstance(found, Mapping) and part in found) or (
            isinstance(found, Sequence) and isinstance(part, int) and part < len(found)
        ):
            found = found[part]
        shown.append(part)
    field = ".".join(map(str, where))
    if error["type"] == "extra_forbidden":
        return f"{field}={found!r} is not a field. Remove it, or see `s1sweep run --cfg job` for the valid ones."
    if error["type"] == "missing":
        return f"{field} is missing. Give {field}=..."
    message = error["msg"].replace("valid tuple", "valid list")
    return f"{field}={found!r}: {message[0].lower()}{message[1:]}."


def _explain(error: Exception, loader: ConfigLoader, name: str) -> str:
    """A Hydra or OmegaConf error as one message, with the nearest valid name for a typo."""
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} is not a valid override: {text.splitlines()[0]}. Write key=value, quoted for the shell."
        )
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text += f"\n{str(cause).strip()}"
    text = "\n".join(line for line in text.splitlines() if line.strip() and not line.strip().startswith("object_type"))
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        valid = sorted(_keys(OmegaConf.to_container(loader.load_configuration(name, [], RunMode.RUN), resolve=False)))
        close = difflib.get_close_matches(key.group(1), valid, n=3)
        prefix = key.group(1).split(".")[0] + "."
        siblings = [v for v in valid if v.startswith(prefix)]
        if close:
            text += f"\nDid you mean {' or '.join(repr(c) for c in close)}?"
        elif siblings:
            text += f"\nFields of {prefix[:-1]}: {', '.join(siblings)}."
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if choice:
        options = loader.get_group_options(choice.group(1))
        text += nearest(choice.group(2), options)
    full_key = getattr(cause or error, "full_key", None)
    if isinstance(error, MissingMandatoryValue) or isinstance(cause, MissingMandatoryValue):
        text = f"{full_key} has no value. Give {full_key}=..."
    return text


def _keys(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [key for k, v in value.items() if k != "hydra" for key in _keys(v, f"{prefix}.{k}".lstrip("."))]
