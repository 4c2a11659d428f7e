"""What steers the daemon from an application: reload, stop, the pace of retries."""

from __future__ import annotations

from unspool import _requests


def reload() -> bool:
    """Has the application imported anew; running tasks finish. RuntimeError without a daemon."""
    _requests.send("reload")
    return True


def stop() -> bool:
    """Stops the daemon; running tasks finish. RuntimeError without a daemon."""
    _requests.send("stop")
    return True


def set_spooler_frequency(seconds: float, /) -> bool:
    """Sets the time between retries, for all spools; 0: what the configuration says.

    Tasks that wait already are run when they were to be.
    """
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"a number of seconds is wanted, not {type(seconds).__name__}")
    if not 0 <= seconds <= 1e9:
        raise ValueError(f"unable to retry every {seconds} s: give 0 to 1e9")
    _requests.send("frequency", seconds=seconds)
    return True
