"""The ground: what knows nothing of sessions, and imports nothing above itself.

- addresses: the guest's link, the same in every session
- appliance: whether the SIF that we run from is still there
- atomic: files replaced in one step
- belongings: whose a file is that was found, not named
- container: what of the node the container shows
- core_dumps: what a crash leaves on the node's disk
- errors: refusals and exit codes
- foreign_files: files that somebody else may have written
- heartbeat: files that say who is at something, and go stale with him
- hostnames: names and addresses of hosts, told by their spelling
- later: modules of the library that are loaded when they are used
- http_line: a server's connections, by the clock
- lineage: whose child we are
- logs: the programs' own logs, one line a record
- mount_table: what is mounted, as the kernel tells it
- ownership: whose a folder must be
- paths: paths as users write them
- priority: giving way to others on the node
- process: the one place that starts processes
- rdp_file: the file that an RDP client opens
- steady_memory: servers that do not grow
- syscalls: system calls that Python does not offer
- text_files: text that people write, on whatever system
- units: durations and sizes, for people
"""
