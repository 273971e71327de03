"""The way out: `policy` decides what the guest may reach, `relay` runs confined and carries it.

- policy/: What a session may reach
- relay/: The relay's process
- relay_link: the supervisor's end: starts the relay, gives it its orders, ends it
- relay_report: what the relay says of itself, taken with care
- relay_watch: what is wrong with the ways out now
"""
