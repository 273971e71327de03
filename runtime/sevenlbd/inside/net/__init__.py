"""The guest's link, and what is at its other end. No route leads out.

- network: the guest's network: tap, DHCP, DNS
- router: router advertisements
- shaping: the link made slower
- ways_out: sockets at the servers' own addresses
"""
