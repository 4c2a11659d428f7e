"""The decorators of uWSGI 2.0.31, without uWSGI; importing them sets `uwsgi.spooler`.

The tasks that they write are those of uWSGI's own `uwsgidecorators` and run there, and the other
way round. Where uWSGI's fails, this one does what was meant: values may be int, float and bool;
values that are not UTF-8 stay bytes; a plain task may have a key `args`; a function with
`pass_arguments` that has a parameter `body` is given the body, as bytes; functions of one name in
several modules are several. Works on a real uWSGI too.

What needs a file monitor is recorded where there is none, and says so when it is called.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial, update_wrapper, wraps
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, overload

import uwsgi
from unspool import _calls, _encoding, _functions, _mules, _policy, _process, _unarmed
from unspool._errors import UnknownFunction
from unspool._mule_loops import farm_loop, mule_brain, mule_brainloop, mulemsg_loop
from unspool._native import check_pickles, decoded

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "Thread",
    "cron",
    "erlang",
    "farm",
    "farm_loop",
    "filemon",
    "get_free_signal",
    "harakiri",
    "lock",
    "manage_spool_request",
    "mstimer",
    "mule",
    "mule_brain",
    "mule_brainloop",
    "mule_functions",
    "mule_msg_dispatcher",
    "mulefunc",
    "muleloop",
    "mulemsg",
    "mulemsg_loop",
    "partial",
    "pickle",
    "postfork",
    "postfork_chain",
    "postfork_chain_hook",
    "rbtimer",
    "rpc",
    "signal",
    "spool",
    "spooler_functions",
    "spoolforever",
    "spoolraw",
    "sys",
    "thread",
    "timer",
    "uwsgi",
]

if uwsgi.masterpid() == 0:
    raise Exception("you have to enable the uWSGI master process to use this module")

spooler_functions: dict[str, Callable[..., Any]] = {}
mule_functions: dict[str, Callable[..., Any]] = {}
postfork_chain: list[Callable[[], Any]] = []

# All decorated functions by their names, and those whose name is theirs alone.
_tasks: dict[str, list[_spoolraw]] = {}
_decorated: dict[str, _spoolraw] = {}

# Keys of a task that are no arguments of its function.
_OURS = frozenset({"ud_spool_func", "ud_spool_ret", "spooler_task_name", *_encoding.RESERVED})


class _spoolraw:
    """A function whose calls are submitted as tasks; `f` is the function itself."""

    base_dict: dict[str, Any]
    _result: str | None = None

    def __init__(self, f: Callable[..., Any], pass_arguments: bool = False, **options: Any) -> None:
        if not ("spooler" in uwsgi.opt or "spooler-external" in uwsgi.opt):
            raise Exception(
                f"you have to enable the uWSGI spooler to use @{type(self).__name__} decorator"
            )
        if isinstance(f, _spoolraw):
            # Its runs would submit it again, for ever.
            raise TypeError(
                f"{f.base_dict['ud_spool_func']} is decorated already, with "
                f"@{type(f).__name__.lstrip('_')}: a task function has one such decorator"
            )
        self.options = _policy.checked(options)
        self.f = f
        self.module = _functions.module_of(f)
        self.pass_arguments = bool(pass_arguments)
        self.base_dict = {"ud_spool_func": f.__name__}
        update_wrapper(self, f, updated=())
        _register(self)
        f.spool = self.__call__  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> bytes:
        """Submits a task; returns the absolute path of its file.

        Where `spooler` is the address of another machine's, it returns `ADDRESS/ID`.
        """
        message = dict(self.base_dict)
        if self._result is not None:
            message["ud_spool_ret"] = self._result
        if self.pass_arguments:
            for key in _encoding.RESERVED:
                if key in kwargs:
                    _encoding.add(message, key, kwargs.pop(key))
            message["args"] = pickle.dumps(args)
            message["kwargs"] = pickle.dumps(kwargs)
        else:
            if args:
                message.update(args[0])
            for key, value in kwargs.items():
                _encoding.add(message, key, value)
        encoded = _encoding.encoded(message)
        if encoded[b"ud_spool_func"] == self.f.__name__.encode():
            encoded.unspool_module = (self.module or "").encode()
        if self.options:
            encoded.unspool_options = _policy.submitted(self.options)
        return uwsgi.spool(encoded)

    spool = __call__

    def using(self, **options: Any) -> Self:
        """The same function, whose tasks ask for something else themselves; see `spool`.

        `report.using(max_attempts=3, expires=60).spool(year=2026)`.
        """
        other = copy(self)
        other.options = {**self.options, **_policy.checked(options)}
        return other


class _spool(_spoolraw):
    _result = "-2"


class _spoolforever(_spoolraw):
    _result = "-1"


def _register(task: _spoolraw) -> None:
    name = task.f.__name__
    others = _tasks.get(name, [])
    for old in others:
        if old.module == task.module and _functions.is_ambiguous((old, task)):
            where = f"{_functions.place(old.f)} and {_functions.place(task.f)}"
            warnings.warn(
                f"two task functions of one module are named {name!r}, in {where}: tasks of both "
                "run the second one; rename one of them",
                RuntimeWarning,
                stacklevel=5,
            )
    _tasks[name] = [*(old for old in others if old.module != task.module), task]
    spooler_functions[name] = task.f
    if _functions.is_ambiguous(_tasks[name]):
        _decorated.pop(name, None)
    else:
        _decorated[name] = task


def _decorator(
    kind: type[_spoolraw],
    f: Callable[..., Any] | None,
    pass_arguments: bool,
    options: dict[str, Any],
) -> Any:
    if f is not None:
        return kind(f, pass_arguments, **options)
    # Before there is a function to decorate.
    _policy.checked(options)
    return partial(kind, pass_arguments=pass_arguments, **options)


@overload
def spool(f: Callable[..., Any], pass_arguments: bool = ..., **options: Any) -> _spool: ...


@overload
def spool(
    f: None = None, pass_arguments: bool = ..., **options: Any
) -> Callable[[Callable[..., Any]], _spool]: ...


def spool(f: Callable[..., Any] | None = None, pass_arguments: bool = False, **options: Any) -> Any:
    """Makes calls of a function tasks; a run is done whatever the function returns.

    The function is called with one dictionary of text or, with `pass_arguments=True`, with the
    arguments of the call.

    Its tasks may ask for something else than the spool's configuration says, each for itself:
    `max_attempts` (failed attempts after which it is given up; 0: no limit), `max_deaths` (the same
    for deaths of its worker), `max_retries` (the same for runs that return SPOOL_RETRY),
    `retry_delay` (seconds between attempts), `backoff_from` (the attempt from which on that
    doubles; 0: never), `backoff_max` (seconds that it grows to), `soft_time_limit` (seconds after
    which `unspool.SoftTimeLimitExceeded` is raised in it), `time_limit` (seconds after which its
    worker is killed), `expires` (seconds from its submission, or a datetime: not started by then,
    it is given up), `durability` ("none", "file" or "group").
    """
    return _decorator(_spool, f, pass_arguments, options)


@overload
def spoolforever(
    f: Callable[..., Any], pass_arguments: bool = ..., **options: Any
) -> _spoolforever: ...


@overload
def spoolforever(
    f: None = None, pass_arguments: bool = ..., **options: Any
) -> Callable[[Callable[..., Any]], _spoolforever]: ...


def spoolforever(
    f: Callable[..., Any] | None = None, pass_arguments: bool = False, **options: Any
) -> Any:
    """Like `spool`, for a task that runs again and again."""
    return _decorator(_spoolforever, f, pass_arguments, options)


@overload
def spoolraw(f: Callable[..., Any], pass_arguments: bool = ..., **options: Any) -> _spoolraw: ...


@overload
def spoolraw(
    f: None = None, pass_arguments: bool = ..., **options: Any
) -> Callable[[Callable[..., Any]], _spoolraw]: ...


def spoolraw(
    f: Callable[..., Any] | None = None, pass_arguments: bool = False, **options: Any
) -> Any:
    """Like `spool`, for a function that returns SPOOL_OK, SPOOL_RETRY or SPOOL_IGNORE itself."""
    return _decorator(_spoolraw, f, pass_arguments, options)


def manage_spool_request(vars: Mapping[Any, bytes]) -> int:  # noqa: A002
    """Runs a task: the handler that this module assigns to `uwsgi.spooler`."""
    # Native, since a worker that was idle runs every line of this for the first time again.
    message, module = decoded(vars if isinstance(vars, dict) else dict(vars))
    name = message.get("ud_spool_func", "")
    function = spooler_functions.get(name)
    task = _decorated.get(name)
    if task is None or task.f is not function or (module is not None and task.module != module):
        function, task = _meant(name, module)
    # The function may change the message.
    forced = message.get("ud_spool_ret")
    if forced is None and task is not None:
        forced = task._result
    if "args" in message and "kwargs" in message and (task is None or task.pass_arguments):
        # Loading them can run any code: they must come from somebody who may do so.
        check_pickles()
        arguments = pickle.loads(_calls.raw(vars, "args"))
        keywords = pickle.loads(_calls.raw(vars, "kwargs"))
        returned = function(*arguments, **_calls.with_body(function, arguments, keywords, vars))
    elif task is not None and task.pass_arguments:
        # From the command line, or written by hand: there are only named arguments.
        keywords = {key: value for key, value in message.items() if key not in _OURS}
        returned = function(**_calls.with_body(function, (), keywords, vars))
    else:
        returned = function(message)
    if returned is not None:
        _calls.check_that_it_ran(name, function, returned)
    return _calls.result_of(name, returned if forced is None else forced)


def _meant(name: str, module: str | None) -> tuple[Callable[..., Any], _spoolraw | None]:
    """The function of a task where its name alone does not say it."""
    function = spooler_functions.get(name)
    if function is None:
        raise UnknownFunction(name, spooler_functions)
    tasks = _tasks.get(name, [])
    if all(task.f is not function for task in tasks):
        # Put there by hand.
        return function, None
    chosen = _functions.choose(name, module, tasks)
    if chosen is None:
        modules = [task.module or "a module without a name" for task in tasks]
        raise UnknownFunction(name, spooler_functions, module, modules)
    return chosen.f, chosen


def get_free_signal() -> int:
    """The lowest signal that nothing is registered for."""
    for number in range(256):
        if not uwsgi.signal_registered(number):
            return number
    raise Exception("No free uwsgi signal available")


def signal(num: int, target: str = "") -> Callable[[F], F]:
    """Calls the function with the signal's number whenever the signal is raised."""

    def register(f: F) -> F:
        uwsgi.register_signal(num, target, f)
        return f

    return register


def timer(secs: float, signum: int | None = None, target: str = "") -> Callable[[F], F]:
    """Calls the function every so many seconds."""
    return _scheduled(lambda number: uwsgi.add_timer(number, secs), signum, target)


def mstimer(msecs: float, signum: int | None = None, target: str = "") -> Callable[[F], F]:
    """Calls the function every so many milliseconds."""
    return _scheduled(lambda number: uwsgi.add_ms_timer(number, msecs), signum, target)


def rbtimer(secs: float, signum: int | None = None, target: str = "") -> Callable[[F], F]:
    """Calls the function every so many seconds."""
    return _scheduled(lambda number: uwsgi.add_rb_timer(number, secs), signum, target)


def cron(
    minute: int,
    hour: int,
    day: int,
    month: int,
    dayweek: int,
    signum: int | None = None,
    target: str = "",
) -> Callable[[F], F]:
    """Calls the function in each minute that matches; -1 is any, -N every N."""
    return _scheduled(
        lambda number: uwsgi.add_cron(number, minute, hour, day, month, dayweek), signum, target
    )


def _scheduled(add: Callable[[int], object], signum: int | None, target: str) -> Callable[[F], F]:
    def register(f: F) -> F:
        number = get_free_signal() if signum is None else signum
        uwsgi.register_signal(number, target, f)
        add(number)
        return f

    return register


def postfork(f: Any) -> Any:
    """Calls the function in each worker after its fork; `postfork(n)`: in worker n alone."""
    if callable(f):
        postfork_chain.append(f)
        return f

    def register(function: F) -> F:
        def in_that_worker() -> None:
            if uwsgi.worker_id() == f:
                function()

        postfork_chain.append(in_that_worker)
        return function

    return register


def postfork_chain_hook() -> None:
    """Calls what `postfork` registered, in order."""
    for f in postfork_chain:
        f()


def lock(f: F) -> F:
    """Lets one process at a time run the function."""

    @wraps(f)
    def locked(*args: Any, **kwargs: Any) -> Any:
        uwsgi.lock()
        try:
            return f(*args, **kwargs)
        finally:
            uwsgi.unlock()

    return locked  # type: ignore[return-value]


def thread(f: F) -> Callable[..., F]:
    """Starts a daemon thread with each call, which returns the function."""

    @wraps(f)
    def start(*args: Any, **kwargs: Any) -> F:
        Thread(target=f, args=args, kwargs=kwargs, daemon=True).start()
        return f

    return start


def harakiri(seconds: int) -> Callable[[F], F]:
    """Ends the worker's process if one call of the function takes longer."""
    limit = uwsgi.set_user_harakiri

    def decorate(f: F) -> F:
        @wraps(f)
        def limited(*args: Any, **kwargs: Any) -> Any:
            limit(seconds)
            try:
                return f(*args, **kwargs)
            finally:
                limit(0)

        return limited  # type: ignore[return-value]

    return decorate


def filemon(fsobj: str, signum: int | None = None, target: str = "") -> Callable[[F], F]:
    """Calls the function whenever the file or the directory changes."""

    def register(f: F) -> F:
        number = get_free_signal() if signum is None else signum
        uwsgi.register_signal(number, target, f)
        uwsgi.add_file_monitor(number, fsobj)
        return f

    return register


def rpc(name: str) -> Callable[[F], F]:
    """Lets the function be called by its RPC name."""

    def register(f: F) -> F:
        if hasattr(uwsgi, "register_rpc"):
            uwsgi.register_rpc(name, f)
        else:
            _unarmed.record(f"rpc({name!r})", f, "RPC")
        return f

    return register


def erlang(name: str) -> Callable[[F], F]:
    """Lets the function be called by Erlang processes."""

    def register(f: F) -> F:
        if hasattr(uwsgi, "erlang_register_process"):
            uwsgi.erlang_register_process(name, f)
        else:
            _unarmed.record(f"erlang({name!r})", f, "the Erlang plugin")
        return f

    return register


@overload
def mulefunc(f: Callable[..., Any]) -> Callable[..., None]: ...


@overload
def mulefunc(f: int | str) -> Callable[[Callable[..., Any]], Callable[..., None]]: ...


def mulefunc(f: Any) -> Any:
    """Has calls of the function run in a mule: bare, `mulefunc(number)` or `mulefunc("farm")`."""
    if callable(f):
        return _in_mule(f, 0)
    return partial(_in_mule, where=f)


def _in_mule(f: Callable[..., Any], where: int | str) -> Callable[..., None]:
    mule_functions[f.__name__] = f

    @wraps(f)
    def send(*args: Any, **kwargs: Any) -> None:
        call = {"service": "uwsgi_mulefunc", "func": f.__name__, "args": args, "kwargs": kwargs}
        # The name of a farm as bytes: uWSGI takes text for a number.
        uwsgi.mule_msg(pickle.dumps(call), where.encode() if isinstance(where, str) else where)

    return send


def mule_msg_dispatcher(message: bytes) -> Any:
    """Runs in a mule what `mulefunc` sent there."""
    call = pickle.loads(message)
    if call["service"] == "uwsgi_mulefunc":
        return mule_functions[call["func"]](*call["args"], **call["kwargs"])
    return None


def mule(num: int) -> Callable[[Callable[[], Any]], None]:
    """Runs the function in this mule, once."""
    return _in_mules(lambda f: mule_brain(f, num), f"mule({num})", _lacks_mule(num))


def muleloop(num: int) -> Callable[[Callable[[], Any]], None]:
    """Runs the function in this mule, again and again."""
    return _in_mules(lambda f: mule_brainloop(f, num), f"muleloop({num})", _lacks_mule(num))


def mulemsg(num: int) -> Callable[[Callable[[bytes], Any]], None]:
    """Runs the function in this mule with each message that it is sent."""
    return _in_mules(lambda f: mulemsg_loop(f, num), f"mulemsg({num})", _lacks_mule(num))


def farm(name: str | None = None) -> Callable[[Callable[[bytes], Any]], None]:
    """Runs the function in the mules of this farm with each message that the farm is sent."""
    lacks = "" if _mules.farms() and name in (None, *_mules.farms()) else "such a farm"
    return _in_mules(lambda f: farm_loop(f, name), f"farm({name!r})", lacks)


def _lacks_mule(number: int) -> str:
    return "" if 1 <= number <= _mules.count() else f"a mule of the number {number}"


def _in_mules(
    made: Callable[[Any], Callable[[], None]], decorator: str, lacks: str
) -> Callable[[Any], None]:
    """Puts it into the hook after the fork; the decorated name becomes None, as in uWSGI."""

    def register(f: Any) -> None:
        postfork_chain.append(made(f))
        if lacks and _process.role() is not _process.Role.UNCONFIGURED:
            _unarmed.record(decorator, f, lacks)

    return register


uwsgi.spooler = manage_spool_request
uwsgi.mule_msg_hook = mule_msg_dispatcher
uwsgi.post_fork_hook = postfork_chain_hook
