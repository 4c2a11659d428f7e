"""What the options of caches, queues, metrics and locks say.

Owns their syntax and their defaults, which are uWSGI's. Keeps nothing: what the process's options
are is `_process`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Options = Iterable["tuple[str, bytes | None]"]

BLOCK_BYTES = 65_536
KEY_BYTES = 2048
QUEUE_BLOCK_BYTES = 8192
# What uWSGI needs of each block of a queue for itself.
QUEUE_HEADER_BYTES = 16
SLOTS_MAX = 1_000_000
LOCKS_MAX = 4096


@dataclass(frozen=True)
class Cache:
    """One cache."""

    name: str
    items: int
    value_bytes: int = BLOCK_BYTES
    key_bytes: int = KEY_BYTES
    # With a bitmap a value may take several blocks: their size, and how many there are.
    block_bytes: int = 0
    blocks: int = 0
    purge: bool = False
    clear: bool = False
    expire: bool = True
    initial: int = 0
    kept: bool = False


@dataclass(frozen=True)
class Queue:
    """The queue."""

    slots: int
    value_bytes: int
    kept: bool


@dataclass(frozen=True)
class Settings:
    """All of them."""

    caches: dict[str, Cache] = field(default_factory=dict)
    queue: Queue | None = None
    # The first value of each metric, and for an alias the metric that it stands for.
    metrics: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    locks: int = 0

    def __bool__(self) -> bool:
        return bool(self.caches or self.queue or self.metrics or self.locks)


def read(options: Options) -> Settings:
    """The settings of options as they were given; ValueError says which one is wrong."""
    given: dict[str, list[str]] = {}
    for name, value in options:
        text = "true" if value is None else value.decode("utf-8", "surrogateescape")
        given.setdefault(name, []).append(text.strip())
    caches = dict(_cache(text) for text in given.get("cache2", []))
    old = _old_cache(given)
    if old is not None:
        caches = {"default": old, **caches}
    metrics, aliases = _metrics(given)
    return Settings(
        caches=caches,
        queue=_queue(given),
        metrics=metrics,
        aliases=aliases,
        locks=_number("locks", given.get("locks", ["0"])[-1] or "0", 0, LOCKS_MAX),
    )


def _cache(text: str) -> tuple[str, Cache]:
    what = f"cache2 = {text}"
    pairs = _pairs(what, text, CACHE_KEYS)
    name = pairs.get("name", "")
    if not name or "items" not in pairs:
        missing = "items" if name else "name"
        raise ValueError(f"`{what}` has no `{missing}`: write cache2 = name=NAME,items=NUMBER")
    block = _number(what, pairs.get("blocksize", str(BLOCK_BYTES)), 1)
    items = _number(what, pairs["items"], 1)
    blocks = _number(what, pairs.get("blocks", str(items)), 1)
    bitmap = _flag(pairs, "bitmap")
    return name, Cache(
        name=name,
        items=items,
        value_bytes=block * blocks if bitmap else block,
        key_bytes=_number(what, pairs.get("keysize", str(KEY_BYTES)), 1),
        block_bytes=block if bitmap else 0,
        blocks=blocks if bitmap else 0,
        purge=_flag(pairs, "purge_lru"),
        clear=_flag(pairs, "clear_on_full"),
        expire=not _flag(pairs, "no_expire"),
        initial=_number(what, pairs.get("math_initial", "0"), -(2**63)),
        kept=bool(pairs.get("store")),
    )


# Other names that uWSGI has. Keys that nothing here asks for have no effect: how uWSGI lays
# its memory out and sweeps it, and how caches talk over a network.
CACHE_KEYS = {"max_items": "items", "maxitems": "items"}


def _old_cache(given: dict[str, list[str]]) -> Cache | None:
    items = _number("cache", given.get("cache", ["0"])[-1] or "0", 0)
    if not items:
        return None
    return Cache(
        name="default",
        items=items,
        value_bytes=_number(
            "cache-blocksize", given.get("cache-blocksize", [str(BLOCK_BYTES)])[-1], 1
        ),
        expire="cache-no-expire" not in given,
        kept="cache-store" in given,
    )


def _queue(given: dict[str, list[str]]) -> Queue | None:
    slots = _number("queue", given.get("queue", ["0"])[-1] or "0", 0, SLOTS_MAX)
    if not slots:
        return None
    block = given.get("queue-blocksize", [str(QUEUE_BLOCK_BYTES)])[-1]
    return Queue(
        slots=slots,
        value_bytes=_number("queue-blocksize", block, QUEUE_HEADER_BYTES + 1) - QUEUE_HEADER_BYTES,
        kept="queue-store" in given,
    )


def _metrics(given: dict[str, list[str]]) -> tuple[dict[str, int], dict[str, str]]:
    metrics: dict[str, int] = {}
    aliases: dict[str, str] = {}
    for text in given.get("metric", []):
        what = f"metric = {text}"
        pairs = _pairs(what, text, {}) if "=" in text else {"name": text}
        name = pairs.get("name", "")
        if not name:
            raise ValueError(f"`{what}` has no `name`: write metric = NAME or metric = name=NAME")
        if pairs.get("type") == "alias":
            aliases[name] = pairs.get("alias", "")
        else:
            metrics[name] = _number(what, pairs.get("initial_value", "0"), -(2**63))
    return metrics, aliases


def _pairs(what: str, text: str, names: dict[str, str]) -> dict[str, str]:
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"`{what}`: `{part}` is no KEY=VALUE")
        pairs[names.get(name, name)] = value
    return pairs


def _flag(pairs: dict[str, str], name: str) -> bool:
    # Whatever is given counts, as in uWSGI.
    return bool(pairs.get(name))


def _number(what: str, text: str, least: int, most: int = 2**63 - 1) -> int:
    # Text behind a number, such as a comment, does not count, as in uWSGI.
    digits = re.match(r"[+-]?[0-9]+", text)
    if digits is None:
        raise ValueError(f"`{what}`: `{text}` is no number")
    number = int(digits[0])
    if not least <= number <= most:
        raise ValueError(f"`{what}`: {number} is not between {least} and {most}")
    return number
