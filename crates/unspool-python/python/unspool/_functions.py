"""Which function a task means: by its name, and by its module where several have one of that name.

Owns the comparison of modules alone; the registry of functions is in ``uwsgidecorators``, and
where a task's file keeps the module is ``unspool-core``'s business. A module may have another name
where the task runs than where it was submitted: a file is ``__main__`` there, ``_srv_app_tasks`` or
``app.tasks`` here.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

# As in unspool-core's limits.
MODULE_BYTES_MAX = 200


class Task(Protocol):
    """A decorated function."""

    f: Callable[..., Any]
    module: str | None


T = TypeVar("T", bound=Task)


def module_of(function: Callable[..., Any]) -> str | None:
    """The function's module as other processes know it, in ASCII; None where that is not known."""
    module = getattr(function, "__module__", None)
    if module == "__main__":
        module = _main_module()
    if not isinstance(module, str):
        return None
    text = module.encode("ascii", "backslashreplace").decode()
    if not text or len(text) > MODULE_BYTES_MAX or not text.isprintable() or " " in text:
        return None
    return text


def _main_module() -> str | None:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    return _stem(getattr(main, "__file__", None))


def _file_name(function: Callable[..., Any]) -> str | None:
    return _stem(getattr(sys.modules.get(function.__module__), "__file__", None))


def _stem(file: object) -> str | None:
    return os.path.splitext(os.path.basename(file))[0] if isinstance(file, str) else None


def place(function: Callable[..., Any]) -> str:
    """Where the function's code is: two loads of one file are one function."""
    code = getattr(function, "__code__", None)
    return repr(function) if code is None else f"{code.co_filename}:{function.__qualname__}"


def is_ambiguous(tasks: Sequence[Task]) -> bool:
    """Whether they are more than one function."""
    first = place(tasks[0].f)
    return any(place(task.f) != first for task in tasks[1:])


def choose(name: str, module: str | None, tasks: Sequence[T]) -> T | None:
    """The one of all functions of this name, in the order of their registration, that a task means.

    None if the task's module is another one, which this process has not imported.
    """
    if module is None:
        return _last(name, "that does not name its module, as uWSGI writes it,", tasks)
    for task in tasks:
        if task.module == module:
            return task
    same = [
        task for task in tasks if _same_module(module, task.module) or module == _file_name(task.f)
    ]
    if same:
        return _last(name, f"of the module {module!r}", same)
    loaded = sys.modules.get(module)
    if loaded is None:
        return None
    # It has moved since the task was submitted: there may be an import in its old place. Not by
    # `getattr`: a module may import something when it is asked for a name that it has not.
    exported = getattr(loaded, "__dict__", {}).get(name)
    for task in tasks:
        if exported is task or exported is task.f:
            return task
    return tasks[-1] if exported is None and not is_ambiguous(tasks) else None


def _last(name: str, task: str, tasks: Sequence[T]) -> T:
    if is_ambiguous(tasks):
        places = " and ".join(dict.fromkeys(place(task.f) for task in tasks))
        warnings.warn(
            f"a task for {name!r} {task} could mean any function of that name, in {places}: the "
            "last one is run; rename one of them, or submit with unspool's decorators",
            RuntimeWarning,
            stacklevel=2,
        )
    return tasks[-1]


def _same_module(a: str, b: str | None) -> bool:
    """Whether the names may be those of one module: by its package, or as a file is named."""
    if b is None:
        return False
    a, b = a.removeprefix("uwsgi_file_"), b.removeprefix("uwsgi_file_")
    if a.endswith("." + b) or b.endswith("." + a):
        return True
    flat_a, flat_b = a.replace(".", "_"), b.replace(".", "_")
    if flat_a == flat_b:
        return True
    # `/srv/app/tasks.py` and `./tasks.py` are called `_srv_app_tasks` and `__tasks`.
    return (a.startswith("_") and a.endswith("_" + flat_b)) or (
        b.startswith("_") and b.endswith("_" + flat_a)
    )
