"""Who may come in and by which way: secrets, certificates, listening sockets, and the gateway's orders.

- access_control: locks that can be changed while the session lives
- bundle: what a client of native RDP needs
- certificates: makes and checks certificates, in a process of its own
- connectors: the ways in, and their sockets
- credentials: the session's password and tokens
- gateway_link: the wire to the gateway
- listeners: sockets, bound before anything else
- peer_socket: by which the gateway asks whose a connection is
- tls_files: the session's certificates, in its folder
"""
