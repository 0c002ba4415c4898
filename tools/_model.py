"""Model files for the tools: load one, pass it options, build its graph, with clear errors.

A model file is any Python file with ``build(batch="N", **options) -> Graph``, whose graph has the
inputs ``x`` (and ``t``) and the outputs ``logits`` and ``loss``; see ``models/``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import minigrad as mg


class ModelError(Exception):
    """A model file is missing, does not run, or does not keep the contract of a model file."""


def load_model(path: str | Path) -> ModuleType:
    """The module in the file ``path``; ModelError when there is none, or it has no ``build``."""
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"there is no model file {file}; try models/mlp.py")
    spec = importlib.util.spec_from_file_location(f"model_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{file} does not run: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "build", None)):
        raise ModelError(f'{file} has no function build(batch="N", **options) -> Graph')
    return module


def build_graph(
    module: ModuleType,
    batch: int | str = "N",
    options: Mapping[str, Any] | None = None,
    *,
    outputs: Sequence[str] = ("loss",),
) -> mg.Graph:
    """The graph of a model; ModelError for an unknown option or an output that is not there."""
    options = dict(options or {})
    _check_options(module, options)
    try:
        graph = module.build(batch=batch, **options)
    except mg.GraphError as error:
        raise ModelError(f"{_file(module)}: build failed: {error}") from error
    if not isinstance(graph, mg.Graph):
        raise ModelError(
            f"{_file(module)}: build gave {type(graph).__name__}, not a minigrad Graph"
        )
    for name in outputs:
        if name not in graph.outputs:
            raise ModelError(
                f"{_file(module)}: the graph has no output {name!r}; it has "
                f"{', '.join(graph.outputs)}"
            )
    return graph


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of ``build`` from ``key=value`` texts; a value is a Python literal, or else text.

    >>> parse_options(["norm=after", "hidden=(128, 64)", "decay=0.9"])
    {'norm': 'after', 'hidden': (128, 64), 'decay': 0.9}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ModelError(f"option {pair!r} is not key=value, such as norm=after")
        options[key.strip()] = _literal(text.strip())
    return options


def pair_up(rest: Sequence[str]) -> list[str]:
    """``["--norm", "after"]``, what a parser of the command line left over, as ``key=value``.

    >>> pair_up(["--norm", "after", "--hidden=64"])
    ['norm=after', 'hidden=64']
    """
    pairs: list[str] = []
    words = list(rest)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ModelError(f"{word!r} is no option; an option of the model is --name value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words:
                raise ModelError(f"option {word} needs a value")
            value = words.pop(0)
        pairs.append(f"{name.replace('-', '_')}={value}")
    return pairs


def _check_options(module: ModuleType, options: Mapping[str, Any]) -> None:
    found = inspect.signature(module.build).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return
    known = [p.name for p in found if p.name != "batch"]
    for name in options:
        if name not in known:
            raise ModelError(
                f"{_file(module)}: build takes no option {name!r}; it takes "
                f"{', '.join(known) or 'none'}"
            )


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _file(module: ModuleType) -> str:
    return Path(module.__file__ or module.__name__).name
