"""Schedulers, one module each: their commands as we call them, and what they answer.

- classad: ClassAds, read and written
- condor: HTCondor's commands and answers
- known: which there are
- scheduler: a job, and what every scheduler can be asked
- slurm: Slurm's commands and answers
"""
