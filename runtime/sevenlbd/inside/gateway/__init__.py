"""The gateway: a process of its own in the session's namespaces, the only way in to the desktop.

It can reach nothing but these namespaces, and holds no secret but this session's.

- __main__: the process
- admission: between accept(2) and the application
- ahead: what a client says first, told with its handshake
- api: what pages and programs ask for
- app: the routes, and what each request goes through
- authentication: tokens, cookies, roles, origins
- begun: a connection with the guest before its client is there
- bridge: a WebSocket and a stream, made one
- client_bundle: what a native client needs, given once
- codings: in which coding a browser gets a file
- deflate: what goes to a browser, made smaller
- desktop: /ws/rdp
- fairness: whoever has the most gives way first
- first_bytes: what a connection's first bytes say
- gate: who may come in and who is there, shared by all parts
- late_input: what was typed blind is not delivered late
- limits: what a stranger may cost
- mcs: RDP's channel connection, said before the client says it
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
