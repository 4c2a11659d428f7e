"""Imports of the application as its options name them: dotted modules and files.

A value with a `/` or ending in `.py` is a file, any other a dotted name; file modules have the
names that uWSGI gives them, since pickles carry them. A file that is loaded already, under whatever
name, is not executed a second time: its timers would be there twice.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from types import ModuleType
from typing import Any

from unspool import _errors

# By their numbers: the modules that were imported for `load_all`, and what a factory has made.
_loaded_imports: dict[int, tuple[ModuleType, Any]] = {}


def is_loaded(number: int) -> bool:
    """Whether the import of this number was done, and did not fail."""
    return number in _loaded_imports


def loaded(number: int) -> tuple[ModuleType, Any] | None:
    """The module that was imported under this number, and what the factory has made, if its
    callable is one; None if that failed."""
    return _loaded_imports.get(number)


def load_all(imports: Iterable[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Imports what the options name, in order. Returns what failed, with its number."""
    failures = []
    for number, item in imports:
        try:
            _loaded_imports[number] = load(item["kind"], item["target"], item["callable"])
        except BaseException:
            failure = {"number": number, "target": item["target"], "traceback": _traceback()}
            failures.append(failure)
    return failures


def _traceback() -> str:
    text = _errors.told()
    return text if len(text) <= 16_384 else text[:8192] + "\n[...]\n" + text[-8192:]


def load(
    kind: str,
    target: str,
    callable: str | None = None,  # noqa: A002
) -> tuple[ModuleType, Any]:
    """Imports what an option names and raises what the import raises. Returns the module and, if
    there is a factory, what that has made.

    `kind` is `shared-import`, `import`, `module`, `wsgi-file` or `spooler-import`. A `callable` (or
    the part of a `module` after its colon) that ends with `()` is called, as uWSGI does: it is an
    application factory, and applications define their handlers in there. Any other is left alone.
    """
    if kind == "wsgi-file":
        module = _load_file(target, "uwsgi_file_" + _module_name(target))
    elif "/" in target or target.endswith(".py"):
        module = _load_file(target, _module_name(target))
    else:
        name, _, attribute = target.partition(":")
        callable = attribute.strip() or callable  # noqa: A001
        module = importlib.import_module(name.strip())
    made = None
    if callable and callable.endswith("()"):
        made = attrgetter(callable[:-2])(module)()
    return module, made


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", "_").replace(".", "_")


def _load_file(path: str, name: str) -> ModuleType:
    search = None
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute):
        search = [absolute]
        absolute = os.path.join(absolute, "__init__.py")
    module = _loaded(absolute)
    if module is not None:
        sys.modules.setdefault(name, module)
        return module
    loader = SourceFileLoader(name, absolute)
    spec = spec_from_file_location(name, absolute, loader=loader, submodule_search_locations=search)
    if spec is None:
        raise ImportError(f"cannot load {path}", name=name, path=path)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _loaded(path: str) -> ModuleType | None:
    real = os.path.realpath(path)
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.realpath(file) == real:
            return module
    return None
