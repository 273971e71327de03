"""A desktop's client without a browser: the page's own (IronRDP), scripted, and a meter of what it is sent.

- __main__: a process of its own for a visit
- bindgen: the client's WebAssembly in this process: memory, references, closures
- browser: what a page gives it: WebSocket, timers, a canvas
- codecs: counts picture updates by their codec, from the bytes
- glue: what the client's JavaScript tells of its imports
- imports: what the client asks of JavaScript
- ironrdp: log in, look, move
- true_colour: what the page's line says in the client's stead
- values: JavaScript's values
- visit: one visit to a session's desktop, and its report
"""
