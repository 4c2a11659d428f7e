"""What a call of a task function is given, and what its result means.

Owns nothing: which function it is, `uwsgidecorators` knows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any


def check_that_it_ran(name: str, function: Any, returned: Any) -> None:
    """TypeError if the call only made an object that nobody will run: the task is not done."""
    code = getattr(returned, "gi_code", None) or getattr(returned, "ag_code", None)
    if isinstance(returned, CoroutineType):
        returned.close()
        what = "is asynchronous"
    elif code is not None and code is getattr(function, "__code__", None):
        what = "is a generator"
    else:
        return
    raise TypeError(
        f"{name} {what}, so that calling it ran nothing of it: decorate a plain function, which "
        "runs it, for example with asyncio.run()"
    )


def raw(message: Mapping[Any, Any], key: str) -> Any:
    """A value as it was submitted; keys are bytes in a worker, and text elsewhere."""
    return message[key.encode()] if key.encode() in message else message.get(key)


def with_body(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    message: Mapping[Any, Any],
) -> dict[str, Any]:
    """The keywords of the call.

    With the body of the task, as bytes, if the function has a parameter of that name and nobody
    gives it another value.
    """
    body = raw(message, "body")
    if body is None or "body" in keywords:
        return keywords
    parameters = inspect.signature(function).parameters
    position = list(parameters).index("body") if "body" in parameters else -1
    kind = parameters["body"].kind if position >= 0 else None
    if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and position >= len(arguments):
        return {**keywords, "body": body}
    if kind is inspect.Parameter.KEYWORD_ONLY:
        return {**keywords, "body": body}
    return keywords


def result_of(name: str, value: Any) -> int:
    """The number that the function returned, or a TypeError or ValueError that says what it should
    have."""
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} returned a {type(value).__name__}: a @spoolraw function returns "
            "uwsgi.SPOOL_OK, uwsgi.SPOOL_RETRY or uwsgi.SPOOL_IGNORE"
        ) from None
