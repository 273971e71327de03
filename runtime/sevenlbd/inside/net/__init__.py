"""The guest's link, and what is at its other end. No route leads out.

- netlink: the one part of pyroute2 that is used
- network: the guest's network: tap, DHCP, DNS
- project_link: the tunnel to a project's network, and what may pass
- router: router advertisements
- shaping: the link made slower
- ways_out: sockets at the servers' own addresses
"""
