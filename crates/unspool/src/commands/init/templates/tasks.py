"""Tasks of {{NAME}}.

Whoever submits imports this module and calls `greet.spool(name="Ada")`, with
UNSPOOL_CONFIG=unspool.ini in its environment. The call returns once the task is on disk; a worker
of `unspool run` runs it.
"""

from uwsgidecorators import spool


@spool
def greet(arguments):
    """Gets a dictionary of text; with `@spool(pass_arguments=True)` the arguments as they are."""
    print("hello,", arguments["name"], flush=True)
