"""The gateway: a process of its own in the session's namespaces, the only way in to the desktop.

    __main__     what the process is given, and what it serves
    link         the wire to the supervisor
    gate         what all share: who may come in, how the session is, who is watching; the close codes
    app          the HTTP application: routes, and what every request goes through
    lock         tokens, cookies, roles, origins, hosts: pure functions and the limit on guessing
    server       the listening sockets, TLS
    admission    who waits before being served, and who is let in
    first_bytes  what a connection's first bytes say of it
    crowd        fairness among strangers
    peers        whose connection it is
    limits       what one connection may cost: deadlines, sizes
    answers      JSON, refusals, and the headers that every answer has
    pages        HTML and what belongs to it
    api          status, stop, secrets, files for native clients
    desktop      /ws/rdp: RDP for the browser, by RDCleanPath
    console      /ws/console: the machine's screen, by RFB
    bridge       a WebSocket and a stream made one, with back-pressure both ways
    rdcleanpath  the messages of RDCleanPath; no I/O
    relay        the raw sockets for native clients
    native       who may knock at stunnel, for RDP over mutual TLS
    traffic      counts of connections and bytes
    metrics      OpenMetrics

It can reach nothing but these namespaces, and holds no secret but this session's.

- __main__: the process
- admission: between accept(2) and the application
- api: what pages and programs ask for
- app: the routes, and what each request goes through
- authentication: tokens, cookies, roles, origins
- bridge: a WebSocket and a stream, made one
- desktop: /ws/rdp
- fairness: whoever has the most gives way first
- first_bytes: what a connection's first bytes say
- gate: who may come in and who is there, shared by all parts
- limits: what a stranger may cost
- metrics: OpenMetrics
- native: before native RDP: who may knock at stunnel
- native_relay: native clients' bytes, unseen
- pages: the pages and what belongs to them
- peers: whose connection it is
- rdcleanpath: what is said before TLS
- responses: how we answer
- server: the application on its sockets
- supervisor_link: the wire to the supervisor
- traffic: counts
- vnc_console: /ws/console
"""
