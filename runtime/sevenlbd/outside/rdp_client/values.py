"""JavaScript's values, as far as a WebAssembly client of the browser's meets them: undefined, promises, events, errors.

None is null; numbers, strings, lists and bytes are Python's own. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final

Function = Callable[..., Any]


class _Undefined:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()


class Thrown(Exception):
    """Something that JavaScript throws; any value may be."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


@dataclass
class JsError:
    """An Error object."""

    message: str = ""
    name: str = "Error"
    stack: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class Record(dict[str, Any]):
    """An object with properties, and nothing else: `{}`."""


class ArrayBuffer(bytes):
    """Bytes that a message brings."""


@dataclass
class PageEvent:
    """What listeners are called with: of a message, of the end of a connection, or of neither."""

    type: str
    data: Any = UNDEFINED
    code: int = 1006  # RFC 6455, 7.1.5: closed without a word
    reason: str = ""
    was_clean: bool = False


class Promise:
    """A promise. What is registered runs from the event loop, never at once (ECMA-262, 27.2)."""

    def __init__(self) -> None:
        self._decided = False  # by the first word for it, which may be another promise's
        self._done = False
        self._failed = False
        self._value: Any = UNDEFINED
        self._waiting: list[Callable[[], None]] = []

    @classmethod
    def resolved(cls, value: Any) -> Promise:
        """The value itself when it is one; or one that is settled."""
        if isinstance(value, Promise):
            return value
        made = cls()
        made.resolve(value)
        return made

    def resolve(self, value: Any = UNDEFINED) -> None:
        """Settled by the value, or in step with it when that is a promise."""
        if self._decided:
            return
        self._decided = True
        if isinstance(value, Promise):
            value.then(lambda one: self._settle(one, failed=False), lambda one: self._settle(one, failed=True))
        else:
            self._settle(value, failed=False)

    def reject(self, value: Any = UNDEFINED) -> None:
        """Failed, by the value."""
        if not self._decided:
            self._decided = True
            self._settle(value, failed=True)

    def _settle(self, value: Any, *, failed: bool) -> None:
        self._done, self._failed, self._value = True, failed, value
        for waiting in self._waiting:
            asyncio.get_running_loop().call_soon(waiting)
        self._waiting.clear()

    def then(self, fulfilled: Any = UNDEFINED, rejected: Any = UNDEFINED) -> Promise:
        """A promise of what the matching handler gives."""
        follower = Promise()

        def go_on() -> None:
            handler = rejected if self._failed else fulfilled
            if not callable(handler):
                (follower.reject if self._failed else follower.resolve)(self._value)
                return
            try:
                follower.resolve(handler(self._value))
            except Thrown as error:
                follower.reject(error.value)

        if self._done:
            asyncio.get_running_loop().call_soon(go_on)
        else:
            self._waiting.append(go_on)
        return follower

    def __await__(self) -> Generator[Any, None, Any]:
        """The value. Raises Thrown."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(*, failed: bool) -> Callable[[Any], None]:
            def done(value: Any) -> None:
                if future.done():
                    return
                if failed:
                    future.set_exception(Thrown(value))
                else:
                    future.set_result(value)

            return done

        self.then(settle(failed=False), settle(failed=True))
        return (yield from future.__await__())


@dataclass
class EventTarget:
    """Something with listeners."""

    _listeners: defaultdict[str, list[tuple[Function, bool]]] = field(default_factory=lambda: defaultdict(list))

    def listen(self, kind: str, listener: Function, *, once: bool = False) -> None:
        self._listeners[kind].append((listener, once))

    def forget(self, kind: str, listener: Function) -> None:
        self._listeners[kind] = [one for one in self._listeners[kind] if one[0] is not listener]

    def dispatch(self, event: PageEvent) -> None:
        """Calls the listeners at once, in their order."""
        for listener, once in list(self._listeners[event.type]):
            if once:
                self.forget(event.type, listener)
            listener(event)
