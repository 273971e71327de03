"""What this node is and has: abilities, file systems, programs of its own. Changes nothing.

- abilities: what the node can do, found out by trying
- cgroup_weight: the weight of our own control group
- cpu_models: whether its CPU has all of a model
- filesystems: what a folder is on
- host_memory: the memory that could be had, and time lost waiting for it
- node_programs: the node's own programs, from inside the container
- orphans: what a killed Apptainer left mounted
- rlimits: limits of processes
"""
