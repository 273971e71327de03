"""What each scheduler tells a job of its share of the node, one module each; `job.allocation` asks them in turn.

- of_condor: HTCondor's, from the job's and the machine's ads
- of_others: of PBS, LSF, Grid Engine and Flux, from the environment
- of_slurm: Slurm's, from the environment and the control group
- share: the share itself
"""
