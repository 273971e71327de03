"""What each scheduler tells a job of its share of the node, one module each; `job.allocation` asks them in turn.

- share: the share itself
- condor: HTCondor's, from the job's and the machine's ads
- others: of PBS, LSF, Grid Engine and Flux, from the environment
- slurm: Slurm's, from the environment and the control group
"""
