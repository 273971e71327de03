"""A scheduler's job: what it gives to a session, and how one is written, submitted and followed.

- allocation: what a job gives, whosever it is
- allocations/: the same by each scheduler
- condor_description: a job of HTCondor's
- condor_node: `render condor-node`
- following: from the queue to a ready desktop
- job_script: a script for Slurm
- leads: how long before its end a session is told
- queue_display: what `submit` shows meanwhile
- rendering: `render slurm`, `render condor`, `render command`
- sizing: memory and CPUs of the guest: asked for, frozen, or the job's part
- submission: `submit`
"""
