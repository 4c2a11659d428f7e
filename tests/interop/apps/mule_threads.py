"""The program of a mule of which one thread waits for signals and another for messages."""

import threading

import uwsgi
from reporting import report


def signals() -> None:
    """Waits for signals."""
    try:
        while True:
            uwsgi.signal_wait()
            report("waited", mule=uwsgi.mule_id(), signal=uwsgi.signal_received())
    finally:
        report("ended", thread="signals")


def messages() -> None:
    """Waits for messages and leaves signals alone."""
    try:
        while True:
            message = uwsgi.mule_get_msg(signals=False)
            report("read", mule=uwsgi.mule_id(), message=message)
    finally:
        report("ended", thread="messages")


threads = [threading.Thread(target=target) for target in (signals, messages)]
for thread in threads:
    thread.start()
report("threads", mule=uwsgi.mule_id())
for thread in threads:
    thread.join()
