"""A limit of the time that a worker may take, set by its own task.

The worker is ended in the middle of what it does, also inside of C code, after the tracebacks of
its threads were written to the log; its daemon then sees a death. Other processes have nobody who
would start them again: there a limit has no effect.
"""

from __future__ import annotations

import faulthandler
import operator
import time

from unspool import _native, _process


def set_user_harakiri(seconds: int, /) -> None:
    """Ends this worker if it does not call this again within so many seconds; 0: no limit."""
    seconds = operator.index(seconds)
    if seconds < 0:
        raise ValueError(f"unable to set a limit of {seconds} s: give 0 or more")
    until_ns = time.monotonic_ns() + seconds * 1_000_000_000 if seconds else 0
    # Of a request the daemon looks at it, and it is over with the request.
    if _native.limit_request(until_ns) or not _process.is_worker():
        return
    if seconds == 0:
        faulthandler.cancel_dump_traceback_later()
        return
    # Standard error by its number: a task may have replaced `sys.stderr`.
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
