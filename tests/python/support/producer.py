"""A producer that lives as long as its test: submits what it is told and says when it returned.

Its standard input and output carry pickled requests and answers (see `spooling.Producer`).
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from typing import Any

import unspool


def answer(messages: list[dict[Any, Any]], durability: str) -> list[tuple[str, float]]:
    """Submits each message; its path and the moment of the return."""
    done = []
    for message in messages:
        path = unspool.spool(message, durability=durability)
        done.append((os.fsdecode(path), time.monotonic()))
    return done


def main() -> None:
    """Answers until the test closes standard input."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            messages, durability = pickle.load(requests)
        except EOFError:
            return
        try:
            result: Any = answer(messages, durability)
        except Exception as error:
            result = error
        pickle.dump(result, answers)
        answers.flush()


if __name__ == "__main__":
    main()
