"""The program of a mule that ignores signals and never looks at its messages."""

import signal
import subprocess
import time

import uwsgi
from reporting import report

for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
report("stubborn", mule=uwsgi.mule_id(), child=child.pid)
while True:
    time.sleep(1)
