"""The program of a mule that ends, or fails."""

import os
import sys

import uwsgi
from reporting import report

report("short", mule=uwsgi.mule_id(), module=__name__, file=__file__, argv=sys.argv)
main = sys.modules["__main__"]
report("main", same=main.__dict__ is globals())
if "INTEROP_FAILS" in os.environ:
    raise ValueError("short and wrong")
