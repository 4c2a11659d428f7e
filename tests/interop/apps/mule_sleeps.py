"""The program of a mule that never looks at its messages."""

import time

import uwsgi
from reporting import report

report("sleeps", mule=uwsgi.mule_id())
try:
    time.sleep(1000)
finally:
    report("woken", mule=uwsgi.mule_id())
