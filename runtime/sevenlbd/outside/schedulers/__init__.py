"""Schedulers, one module each: their commands as we call them, and what they answer.

- slurm: Slurm's commands and answers
"""
