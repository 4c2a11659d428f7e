"""A process that submits until it is stopped or killed, and notes what was acknowledged.

Runs in a plain Python, or as a module that a real uWSGI imports. TORTURE_SUBMITTER says how, in
JSON: `name` of its tasks, `seed`, `count` of tasks, `pause` in seconds between two, `levels` of
durability, `kinds` of tasks, `ms` that a task takes at most, `bytes` of a body at most, and
`record`, the file to which name, level, path and time of each acknowledged task are added.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
import zlib
from typing import Any

import uwsgi

# A real uWSGI's module is part of its program.
INSIDE = not hasattr(uwsgi, "__file__")


def message(choose: random.Random, name: str, plan: dict[str, Any]) -> dict[bytes, bytes]:
    """The next task."""
    kind = choose.choice(plan["kinds"])
    body = choose.randbytes(choose.randint(0, plan["bytes"]))
    made = {
        b"id": name.encode(),
        b"kind": kind.encode(),
        b"ms": b"%d" % choose.randint(0, plan["ms"]),
        b"crc": b"%x" % zlib.crc32(name.encode() + body),
    }
    if body:
        made[b"body"] = body
    if kind == "urgent":
        made[b"priority"] = b"%d" % choose.randint(1, 3)
    elif kind == "later":
        made[b"at"] = b"%d" % (int(time.time()) + 1)
    return made


def submit(task: dict[bytes, bytes], level: str) -> bytes:
    """Returns the task's file when the task is acknowledged."""
    if INSIDE:
        path: bytes = uwsgi.spool(task)
        return path
    import unspool

    return unspool.spool(task, durability=level)


def main() -> None:
    """Submits what the plan says; an error of a submission is written and ends it with status 3."""
    plan = json.loads(os.environ["TORTURE_SUBMITTER"])
    choose = random.Random(plan["seed"])
    record = os.open(plan["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number in range(plan["count"]):
        name = f"{plan['name']}-{number}"
        level = choose.choice(plan["levels"])
        try:
            path = submit(message(choose, name, plan), level)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(3)
        os.write(record, f"{name} {level} {os.fsdecode(path)} {time.monotonic_ns()}\n".encode())
        if plan["pause"]:
            time.sleep(choose.uniform(0, 2 * plan["pause"]))


with contextlib.suppress(KeyboardInterrupt):
    main()
if INSIDE:
    # In uWSGI's master, which is there only for this.
    os._exit(0)
