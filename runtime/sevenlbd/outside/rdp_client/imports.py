"""What the client asks of JavaScript, by the plain names of its imports. Clipboard and KDC proxy are not among it.

Each entry makes the function for a module. Names that two functions share are told apart by what they are given.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable
from typing import Any

from .bindgen import WasmModule, absent
from .browser import Canvas, Context, ImageData, PageWindow, WebSocket
from .values import UNDEFINED, ArrayBuffer, EventTarget, Function, JsError, PageEvent, Promise, Record

Maker = Callable[[WasmModule, str], Function]


class Handle:
    """An object of the module's: its kind and its address there."""

    def __init__(self, kind: str, address: int) -> None:
        self.kind, self.address = kind, address


def always(function: Function) -> Maker:
    """A function that needs nothing of the module."""
    return lambda _module, _name: function


def with_module(function: Callable[..., Any]) -> Maker:
    """A function whose first argument is the module."""
    return lambda module, _name: lambda *arguments: function(module, *arguments)


def _property(name: str) -> Maker:
    return always(lambda value: getattr(value, name))


def _text_property(name: str) -> Maker:
    return with_module(lambda module, place, value: module.answer(place, str(getattr(value, name))))


def _setter(name: str) -> Maker:
    return always(lambda value, number: setattr(value, name, number))


def _is(kind: type | tuple[type, ...]) -> Maker:
    return always(lambda value: isinstance(value, kind))


def _handle(kind: str) -> Maker:
    return always(lambda address: Handle(kind, address))


def _new(window: PageWindow) -> Maker:
    def maker(module: WasmModule, name: str) -> Function:
        makers: dict[str, Function] = {
            "Array": list,
            "Blob": b"".join,
            "CloseEvent": lambda address, size, options: PageEvent(module.text(address, size), **options),
            "Date": time.time,
            "Error": JsError,
            "ImageData": lambda address, size, width: ImageData(module.read(address, size), width),
            "Object": Record,
            "Uint8Array": bytes,
            "WebSocket": lambda address, size: window.socket(module.text(address, size)),
        }
        constructor = module.glue.constructors[name]
        return makers.get(constructor) or absent(module, f"new {constructor}")

    return maker


def _from_slice(module: WasmModule, name: str) -> Function:
    width = 4 if module.glue.constructors[name] == "Uint32Array" else 1
    return lambda address, count: module.read(address, count * width)


def _promise(module: WasmModule, name: str) -> Function:
    def made(data: int, table: int) -> Promise:
        promise = Promise()
        module.invoke(module.glue.closures[name], data, table, (promise.resolve, promise.reject))
        return promise

    return made


def _cast(module: WasmModule, name: str) -> Function:
    if name in module.glue.closures:
        return lambda data, table: module.closure(name, data, table)
    return lambda *value: module.text(*value) if len(value) == 2 else value[0]


def _get(owner: Any, key: Any) -> Any:
    if isinstance(key, int):
        return owner[key & 0xFFFFFFFF]
    return owner.get(key, UNDEFINED) if isinstance(owner, dict) else getattr(owner, key, UNDEFINED)


def _set(owner: Any, key: str, value: Any) -> bool:
    if isinstance(owner, dict):
        owner[key] = value
    else:
        setattr(owner, key, value)
    return True


def _set_field(name: str) -> Maker:
    """Of an object that is given to a constructor later: text, or a number."""

    def put(module: WasmModule, record: Record, *value: Any) -> None:
        record[name] = module.text(*value) if len(value) == 2 else value[0]

    return with_module(put)


def _listen(module: WasmModule, target: EventTarget, *call: Any) -> None:
    address, size, listener, *options = call
    once = bool(options and isinstance(options[0], dict) and options[0].get("once"))
    target.listen(module.text(address, size), listener, once=once)


def _forget(module: WasmModule, target: EventTarget, address: int, size: int, listener: Function) -> None:
    target.forget(module.text(address, size), listener)


def _dispatch(target: EventTarget, event: PageEvent) -> bool:
    target.dispatch(event)
    return True


def _send(module: WasmModule, socket: WebSocket, *data: Any) -> None:
    socket.send(module.text(*data) if len(data) == 2 else data[0])


def _random(module: WasmModule, address: int, size: int) -> None:
    module.write(address, secrets.token_bytes(size))


def _number(module: WasmModule, place: int, value: Any) -> None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    module.write(place, struct.pack("<iid", is_one, 0, value if is_one else 0))


def _context(module: WasmModule, canvas: Canvas, _address: int, _size: int) -> int:
    return module.keep(canvas.context)


def _now(*clock: Any) -> float:
    return time.monotonic() * 1000 if clock else time.time() * 1000


def _microtask(window: Any) -> Any:
    """The function that a window has for it, or, given a task, that function's work."""
    if isinstance(window, PageWindow):
        return window.queueMicrotask
    Promise.resolved(UNDEFINED).then(lambda _: window())
    return None


def _throw(module: WasmModule, address: int, size: int) -> None:
    raise RuntimeError(f"the client gave up: {module.text(address, size)}")


def _log(module: WasmModule, name: str) -> Function:
    """The client's own words for those who look for a fault; a string that it hands over has to be freed."""

    def note(*words: Any) -> None:
        text = module.text(*words) if len(words) == 2 else str(words[0])
        if len(words) == 2:
            module.call("__wbindgen_free", words[0], words[1], 1)
        module.notes.append(f"{name.removeprefix('__wbg_').partition('_')[0]}: {text}")

    return note


def table(window: PageWindow) -> dict[str, Maker]:
    """All of them."""
    timers, new = window.timers, _new(window)
    place = with_module(lambda module: module.keep(window))
    return {
        "__wbg___wbindgen_boolean_get": always(lambda value: int(value) if isinstance(value, bool) else 0xFFFFFF),
        "__wbg___wbindgen_debug_string": with_module(lambda module, place, value: module.answer(place, repr(value))),
        "__wbg___wbindgen_is_function": always(callable),
        "__wbg___wbindgen_is_null": always(lambda value: value is None),
        "__wbg___wbindgen_is_string": _is(str),
        "__wbg___wbindgen_is_undefined": always(lambda value: value is UNDEFINED),
        "__wbg___wbindgen_number_get": with_module(_number),
        "__wbg___wbindgen_string_get": with_module(
            lambda module, place, value: module.answer(place, value if isinstance(value, str) else None)
        ),
        "__wbg___wbindgen_throw": with_module(_throw),
        "__wbg__wbg_cb_unref": always(lambda closure: closure.release()),
        "__wbg_addEventListener": with_module(_listen),
        "__wbg_apply": always(lambda function, _this, arguments: function(*arguments)),
        "__wbg_call": always(lambda function, _this, *arguments: function(*arguments)),
        "__wbg_clearInterval": always(timers.clear),
        "__wbg_clearTimeout": always(timers.clear),
        "__wbg_clipboarddata_new": _handle("clipboarddata"),
        "__wbg_clipboarditem_new": _handle("clipboarditem"),
        "__wbg_close": always(lambda socket: socket.close()),
        "__wbg_code": _property("code"),
        "__wbg_data": _property("data"),
        "__wbg_debug": _log,
        "__wbg_dispatchEvent": always(_dispatch),
        "__wbg_error": _log,
        "__wbg_from": always(list),
        "__wbg_get": always(_get),
        "__wbg_getContext": with_module(_context),
        "__wbg_getRandomValues": with_module(_random),
        "__wbg_getTime": always(lambda seconds: seconds * 1000),
        "__wbg_info": _log,
        "__wbg_instanceof_ArrayBuffer": _is(ArrayBuffer),
        "__wbg_instanceof_CanvasRenderingContext2d": _is(Context),
        "__wbg_instanceof_Error": _is(JsError),
        "__wbg_instanceof_Object": _is((Record, Handle, EventTarget)),
        "__wbg_instanceof_Response": always(lambda _: False),
        "__wbg_instanceof_Window": _is(PageWindow),
        "__wbg_ironerror_new": _handle("ironerror"),
        "__wbg_length": always(len),
        "__wbg_message": _property("message"),
        "__wbg_name": _property("name"),
        "__wbg_navigator": _property("navigator"),
        "__wbg_new": new,
        "__wbg_new_0": new,
        "__wbg_new_from_slice": _from_slice,
        "__wbg_new_typed": _promise,
        "__wbg_new_with_event_init_dict": new,
        "__wbg_new_with_str": new,
        "__wbg_new_with_str_and_init": new,
        "__wbg_new_with_u8_array_sequence": new,
        "__wbg_new_with_u8_clamped_array": new,
        "__wbg_now": always(_now),
        "__wbg_of": always(lambda *items: list(items)),
        "__wbg_ok": _property("ok"),
        "__wbg_performance": with_module(lambda module, _window: module.keep(window.performance)),
        "__wbg_prototypesetcall": with_module(lambda module, address, _size, data: module.write(address, data)),
        "__wbg_push": always(lambda items, item: items.append(item) or len(items)),
        "__wbg_putImageData": always(lambda context, image, *place: context.put(image, *map(int, place))),
        "__wbg_queueMicrotask": always(_microtask),
        "__wbg_readyState": _property("ready_state"),
        "__wbg_reason": _text_property("reason"),
        "__wbg_removeEventListener": with_module(_forget),
        "__wbg_resolve": always(Promise.resolved),
        "__wbg_send": with_module(_send),
        "__wbg_session_new": _handle("session"),
        "__wbg_sessionterminationinfo_new": _handle("sessionterminationinfo"),
        "__wbg_setInterval": always(timers.interval),
        "__wbg_setTimeout": always(timers.once),
        "__wbg_set": always(_set),
        "__wbg_set_binaryType": always(lambda _socket, _kind: None),
        "__wbg_set_code": _set_field("code"),
        "__wbg_set_height": _setter("height"),
        "__wbg_set_once": always(lambda record, value: record.update(once=bool(value))),
        "__wbg_set_reason": _set_field("reason"),
        "__wbg_set_width": _setter("width"),
        "__wbg_stack": _text_property("stack"),
        "__wbg_static_accessor_GLOBAL": place,
        "__wbg_static_accessor_GLOBAL_THIS": place,
        "__wbg_static_accessor_SELF": place,
        "__wbg_static_accessor_WINDOW": place,
        "__wbg_then": always(lambda promise, *handlers: promise.then(*handlers)),
        "__wbg_toString": always(str),
        "__wbg_url": _text_property("url"),
        "__wbg_userAgent": with_module(lambda module, place, _navigator: module.answer(place, window.user_agent)),
        "__wbg_warn": _log,
        "__wbg_wasClean": _property("was_clean"),
        "__wbindgen_cast": _cast,
        "__wbindgen_init_externref_table": with_module(lambda module: module.begin_references()),
    }
