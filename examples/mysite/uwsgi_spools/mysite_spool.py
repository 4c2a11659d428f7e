from uwsgidecorators import spool, uwsgi
from uwsgidecorators import spoolforever, timer

@spool
def my_func (args):
    print (args)
    # do some job

@timer(30)
def my_func_every_30_sec (args):
    print (args)
    # do some job every 30 sec

@spoolforever
def my_func_forever (args):
    print (args)
    # do some job and repeat
