"""The supervisor's part: a session from its start to its end.

- preflight/: The checker's part
- control: the socket by which `stop` reaches it
- ending: when it ends by itself
- keeper_link: the wire to the keeper
- launch: the verb `run`: checker and keeper first
- life: its state, and what moves it
- mishap: what it means that a machine died
- overlay_disk: the session's own layer
- supervisor: a session from its folder to its end
"""
