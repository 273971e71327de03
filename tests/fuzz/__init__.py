"""Coverage-guided fuzzing of every parser of foreign bytes: docs/harness.md.

- target.py: what a target is, and the folder that parsers of files read from
- made_messages.py: a valid message of every type that a codec reads
- message_targets.py: what crosses the wall, and records that others may have written
- guest_targets.py: what the guest's agent and QEMU answer
- answer_targets.py: what a command in the guest came to, and what a pool's server answers
- gateway_targets.py: what strangers and browsers send, and what those send who have logged in
- image_targets.py: disks, appliances, discs, and what describes them
- egress_targets.py: what a guest asks the ways out for, and what name servers answer
- grid_targets.py: what lent machines and their pool say to each other, and what a coordinator answers the owner
- all_targets.py: the list of them
- one.py: one target under libFuzzer, in a process of its own
- run.py: all of them, one after the other, and the report
"""
