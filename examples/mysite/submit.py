"""Submits a task of this site, whether or not a daemon runs: python submit.py [FUNCTION]"""

import os
import sys

import unspool

unspool.configure(config=os.path.join(os.path.dirname(os.path.abspath(__file__)), "mysite.ini"))

import uwsgi_spools.mysite_spool as mysite_spool  # noqa: E402

function = sys.argv[1] if len(sys.argv) > 1 else "my_func"
print(os.fsdecode(getattr(mysite_spool, function).spool(test=True)))
