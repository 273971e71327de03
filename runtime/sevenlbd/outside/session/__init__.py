"""The supervisor's part: a session from its start to its end.

- preflight/: The checker's part
- audience: everybody who shows it
- control: the socket by which `stop` reaches it
- early_calls: what comes for it before it is there
- encrypted_start: what an encrypted session begins with
- ending: when it ends by itself
- first_state: what is known of it before it begins
- guest_calls: programs run in the guest of a session that is examined
- held_memory: what an encrypted session has instead of files
- keeper_link: the wire to the keeper
- launch: the verb `run`: checker and keeper first
- life: its state, and what moves it
- memory_floor: ends a session in the background when memory gets short
- mishap: what it means that a machine died
- overlay_disk: the session's own layer
- public_state: what everybody who looks sees, and is told
- saves: when it is saved, and what comes of it
- supervisor: a session from its folder to its end
- suspending: a session becomes a file
- worker_standing: what a guest that joins a pool says of itself
"""
