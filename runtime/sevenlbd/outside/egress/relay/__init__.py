"""The relay's process: the only code outside that a guest's bytes come to. Confined, and without any secret.

- __main__: the process
- allowed: the relay's orders: addresses, ports, hosts
- broker: the process that opens connections for the relay
- confine: gives up what it does not need
- courier: datagrams between relay and server
- destination: where a connection leads to
- dialer: the relay's end of the broker
- exchange: one plain HTTP request and its answer
- forwarding: takes the sockets from inside, and has them served
- health: which servers are down, which limits were met
- journal: the list of connections
- lane: one direction of a UDP flow
- metered_socket: a socket whose reading is paid for
- pac: the page that tells a browser of the proxy
- proxy: CONNECT and plain requests
- proxy_hosts: where the proxy's hosts are
- pump: bytes both ways, unseen
- quotas: what all may take together
- reach: how a connection is made
- reasons: why there is none, in words
- relay_context: what its parts share
- resolve: the node's look-up, and what of it is believed
- syscall_filter: what the kernel may be asked for
- target: what a request asks for
- tcp: TCP forwards
- udp: UDP forwards
- udp_flows: how many UDP flows there may be, and which gives way
"""
