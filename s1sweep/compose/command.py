"""A command line to cells. With `composer` and the plugin the only file that knows Hydra and OmegaConf.

Hydra's grammar, groups and sweepers are used as they are; what is ours is speed (`composer`) and the sub-grids of
experiments (`grids`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

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

from s1sweep import project, typos
from s1sweep.compose import grids
from s1sweep.compose.composer import Composer, refuse_nameless
from s1sweep.errors import SweepFailed, UserError, nearest
from s1sweep.planning import Cell
from s1sweep.spec import CellConfig
from s1sweep.spec.launch import LaunchConfig

SEQUENTIAL = ("token_budget", "half_width", "alpha", "first", "growth", "drop_beaten", "seed")


@dataclass(frozen=True)
class CellReturn:
    """What a session says of one cell: its objective, or why there is none (None and None when only planned)."""

    objective: float | None
    error: str | None
    cell: Cell | None = None  # as it was planned


Handler = Callable[[Sequence[CellConfig]], Sequence[CellReturn]]
_handler: Handler | None = None


def multirun(arguments: Sequence[str], handler: Handler) -> Any:
    """Run Hydra on a command line's arguments; each batch of cells goes to `handler`. Raises UserError on bad input.

    Hydra's own flags work (-m, --cfg, --info, --config-dir, hydra/sweeper=...). Gives what the sweeper returns: of a
    search its outcome.
    """
    global _handler
    parsed = _parser().parse_args(list(arguments))
    overrides = [_renamed(line) for line in parsed.overrides]
    folders = conf_folders(parsed.config_dir)
    hydra = _hydra(folders)
    name = parsed.config_name or "config"
    _handler = handler
    try:
        if parsed.cfg:
            hydra.show_cfg(name, overrides, parsed.cfg, parsed.package, parsed.resolve)
        elif parsed.info:
            hydra.show_info(parsed.info, name, overrides, RunMode.MULTIRUN if parsed.multirun else RunMode.RUN)
        else:
            _refuse_nameless(overrides, folders)
            if parsed.multirun:
                overrides = _fields_with_their_choices(overrides)
            else:
                _refuse_sweeps(overrides)
            return hydra.multirun(name, lambda _: None, overrides, with_log_configuration=False)
        return None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, hydra.config_loader, name, folders)) from error
    finally:
        _handler = None
        GlobalHydra.instance().clear()


_OPEN = ("launcher.env", "launcher.file_mounts", "launcher.node_selector")  # names in them are the user's own


def _hydra(folders: Sequence[Path]) -> Hydra:
    setbase("1.3")
    search = create_config_search_path(str(project.PACKAGED.resolve()))
    for folder in folders[1:]:
        # Hydra wants its own schemas to stay last.
        search.prepend("s1sweep", f"file://{folder}", anchor="schema")
    GlobalHydra.instance().clear()
    return Hydra.create_main_hydra2("s1sweep", search)


def launch_config(arguments: Sequence[str]) -> LaunchConfig:
    """The launch that `launcher=slurm launcher.nodes=2 placement=...` means. Raises UserError on bad input."""
    parsed = _parser().parse_args(list(arguments))
    folders = conf_folders(parsed.config_dir)
    loader = _hydra(folders).config_loader
    try:
        _refuse_sweeps(parsed.overrides)
        overrides = [f"++{line}" if line.startswith(_OPEN) else line for line in parsed.overrides]
        config = loader.load_configuration("launch", overrides, RunMode.RUN)
        with open_dict(config):
            del config["hydra"]
        if config.launcher.kind == "slurm" and "://" not in config.placement.root:
            # Slurm's nodes share this machine's folders.
            config.placement.root = str(Path(config.placement.root).absolute())
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        return LaunchConfig.model_validate(plain)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, loader, "launch", folders)) from error
    except ValidationError as error:
        raise UserError("\n".join(typos.field_error(e, plain) for e in error.errors())) from error
    finally:
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


def conf_folders(config_dir: str | None = None) -> list[Path]:
    """Where choices are found: the package, then --config-dir, then the project around the working directory."""
    around = project.enter()
    return [
        project.PACKAGED,
        *([Path(config_dir).absolute()] if config_dir else []),
        *([around.conf] if around else []),
    ]


def _parser() -> Any:
    parser = get_args_parser()
    parser.prog = "s1sweep run"
    flags = [*parser._option_string_actions, "--json", "--retry-failed", "--force"]

    def refuse(message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        close = nearest(unknown[1], flags) if unknown else ""
        raise UserError(f"{message}.{close} Overrides are key=value; flags are those of --help, and Hydra's.")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _refuse_nameless(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    groups = set(typos.groups(folders))
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group in groups and not override.is_sweep_override():
            refuse_nameless(override)


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


def answers(configs: Sequence[CellConfig]) -> Sequence[CellReturn]:
    """What the session at work says of some cells, when they have run."""
    assert _handler is not None, "the s1sweep launcher and sweepers run under `s1sweep run` and `s1sweep plan`"
    return _handler(configs)


def launch(composer: Composer, batch: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What the Launcher plugin does: all cells of a batch to the handler, each answer as Hydra wants it."""
    configs = [composer.cell(overrides) for overrides in batch]
    returns = []
    for overrides, answer in zip(batch, answers(configs), strict=True):
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

    def values(key: str, value: Any) -> list[str]:
        return _values(parser.parse_overrides([f"{key}={_sweep_text(value)}"])[0])

    @cache
    def same(value: str) -> str:
        return str(parser.parse_overrides([f"key={value}"])[0].value())

    cells: list[list[str]] = []
    for experiment in _each(parsed, "experiment"):
        # A sub-grid's values may depend on the scale, so each scale has its own.
        for scale in _each(parsed, "scale") if experiment else [None]:
            first = [experiment] if experiment else []
            given = {o.get_key_element(): _values(o) for o in parsed if o.get_key_element() != "experiment"}
            given |= {"scale": _values(scale)} if scale else {}
            for name, axes in (_grids(loader, master, [*first, *([scale] if scale else [])]) or {"": {}}).items():
                grid = grids.read(name, axes, grids.Reader(values, same))
                cells += [
                    [*map(_line, first), *(f"{key}={value}" for key, value in cell.items())]
                    for cell in grid.cells(given)
                ]
    if not cells:
        raise UserError("No cells: the sub-grids' `exclude` leaves none of these. Give other values.")
    return cells


def _each(overrides: Sequence[Override], key: str) -> list[Override | None]:
    """Each choice of one group as an override of its own; None where none is given."""
    chosen = [o for o in overrides if o.get_key_element() == key]
    if not chosen or not chosen[-1].is_sweep_override():
        return [chosen[-1] if chosen else None]
    each = OverridesParser.create().parse_overrides([f"{key}={value}" for value in _values(chosen[-1])])
    for override in each:
        refuse_nameless(override)
    return [*each]


def _grids(loader: ConfigLoader, master: DictConfig, chosen: Sequence[Override]) -> dict[str, Any]:
    """The sub-grids of an experiment, whose values may depend on the scale."""
    if not chosen:
        found = master.get("grids")
    else:
        lines = [*master.hydra.overrides.hydra, *map(_line, chosen)]
        found = loader.load_configuration(master.hydra.job.config_name, lines, RunMode.RUN).grids
    plain = OmegaConf.to_container(found, resolve=True) if found else {}
    assert isinstance(plain, dict)
    return {str(name): axes for name, axes in plain.items()}


def _line(override: Override) -> str:
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def _values(override: Override) -> list[str]:
    """The values of an axis as BasicSweeper reads them; of one that is none, its value."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: a grid needs listed values. Use a searching hydra/sweeper for intervals."
        )
    if found := list(override.sweep_string_iterator()):
        return found
    raise UserError(f"{override.input_line} stands for no value. Give at least one.")


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


def _explain(error: Exception, loader: ConfigLoader, name: str, folders: Sequence[Path]) -> str:
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
    if key and key.group(1).startswith("hydra.sweeper."):
        text += f"\nFields of hydra/sweeper=sequential: {', '.join(SEQUENTIAL)}."
        text += nearest(key.group(1).removeprefix("hydra.sweeper."), SEQUENTIAL)
    elif key:
        valid = sorted(_keys(OmegaConf.to_container(loader.load_configuration(name, [], RunMode.RUN), resolve=False)))
        text += typos.unknown_key(key.group(1), valid, folders)
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
