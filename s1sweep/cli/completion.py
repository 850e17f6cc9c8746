"""Shell completion: overrides from the conf folders, sweeps from the store, and bash's way with `=`.

Runs at every press of a key, so it imports neither Hydra nor a spec, and a mistake in a project is silence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from s1sweep import project, typos
from s1sweep.errors import UserError

SHELLS = ("bash", "zsh", "fish")
Items = list[CompletionItem[str]]


def overrides(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Of an argument that takes Hydra's overrides."""
    words = [*(ctx.params.get(param.name or "") or ()), *ctx.args]
    return [CompletionItem(text) for text in complete(words, incomplete, _folders(words))]


def sweeps(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Of an argument that takes a sweep of the store."""
    root = ctx.params.get("root")
    if root is None:
        with suppress(UserError):
            project.enter()
        root = os.environ.get("S1SWEEP_ROOT", "s1sweep-out")
    found = sorted(path.parent.name for path in Path(root).expanduser().glob("sweeps/*/sweep.json"))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete(words: Sequence[str], incomplete: str, folders: Sequence[Path]) -> list[str]:
    """What an override may go on as: `group=`, `group.field=`, or `group=choice`, also behind a comma."""
    sign = incomplete[: len(incomplete) - len(incomplete.lstrip("+~"))]
    key, equals, value = incomplete[len(sign) :].partition("=")
    if equals:
        before, comma, last = value.rpartition(",")
        taken = before.split(",")
        found = [choice for choice in typos.choices(folders, key) if choice not in taken]
        return [f"{sign}{key}={before}{comma}{choice}" for choice in found if choice.startswith(last)]
    group, dot, _ = key.partition(".")
    if not dot:
        names = [*typos.groups(folders), *typos.top_fields(folders)]
        return [f"{sign}{name}=" for name in names if name.startswith(key)]
    found = [f"{group}.{field}" for field in typos.fields(folders, group, _chosen(words, group, folders))]
    return [f"{sign}{name}=" for name in found if name.startswith(key)]


def _chosen(words: Sequence[str], group: str, folders: Sequence[Path]) -> str:
    """The choice of a group that the line has named last, the first of several; or the default."""
    said = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
    return said[-1].split(",")[0] if said else typos.default_choices(folders).get(group, "")


def _folders(words: Sequence[str]) -> list[Path]:
    given = [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]
    around = None
    with suppress(UserError):
        around = project.find()
    return [project.PACKAGED, *(Path(folder) for folder in given[-1:]), *([around.conf] if around else [])]


def script(main: click.Command, shell: str) -> str:
    """What a shell reads at its start to complete `s1sweep`."""
    made = get_completion_class(shell)
    assert made is not None, shell
    return made(main, {}, "s1sweep", "_S1SWEEP_COMPLETE").source()


_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion kind value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
%(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r kind value <<< "$completion"
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value"); if [[ $value == *= ]]; then compopt -o nospace; fi ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Bash's words end at `=`, so click sees `data`, `=` and `ran`; here the line itself is read."""

    source_template = _BASH
    _shown = ""  # what bash has already settled of the last word

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        if not line or line[-1].isspace():
            words.append("")
        if "=" in os.environ.get("COMP_BREAKS", "="):
            self._shown = words[-1][: words[-1].rfind("=") + 1]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{str(item.value).removeprefix(self._shown)}"


add_completion_class(Bash)
