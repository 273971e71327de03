"""The inner side of the wall: everything that the guest can talk to, in namespaces with no way out.

- gateway/: the only way in to the desktop
- init/: The place itself
- net/: The guest's link, and what is at its other end
- services/: The helpers that serve the guest, each started again when it dies
- vm/: The virtual machine
- __main__: through the wall, then the keeper
- builder: the fork that runs `setup` and ends
- keeper: PID 1: from the plan to the last word
- orders: what the supervisor wants, read and obeyed
- ready_report: tells when the desktop is ready
- reports: what the supervisor is told
- session_stack: brings all of it up, watches it, takes it down
- setup: the network and the servers' configuration, made once
- worker_report: a guest that joins a pool, and what it says of itself
"""
