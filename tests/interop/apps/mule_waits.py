"""The program of a mule that waits for signals, as many of them do."""

import os

import uwsgi
from reporting import pause, report

wanted = os.environ.get("INTEROP_WANTED")
report("waits", mule=uwsgi.mule_id())
try:
    while True:
        result = uwsgi.signal_wait(*([int(wanted)] if wanted else []))
        report("waited", mule=uwsgi.mule_id(), result=result, signal=uwsgi.signal_received())
        if "INTEROP_PAUSES" in os.environ:
            pause("waited")
finally:
    report("ended", mule=uwsgi.mule_id())
