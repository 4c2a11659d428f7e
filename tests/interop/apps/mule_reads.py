"""The program of a mule that reads its messages itself."""

import uwsgi
from reporting import pause, report

report("reads", mule=uwsgi.mule_id())
try:
    while True:
        message = uwsgi.mule_get_msg()
        report("read", mule=uwsgi.mule_id(), message=message)
        if message.startswith(b"pause "):
            pause(message.removeprefix(b"pause ").decode())
            report("resumed", mule=uwsgi.mule_id())
finally:
    report("ended", mule=uwsgi.mule_id())
