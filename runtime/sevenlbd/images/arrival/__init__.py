"""Versions that come to this machine: what of them is encrypted as they do, and whether they are still what came.

- arriving: files that are written piece by piece
- copying: a version from a repository that is to be read here
- approved: whether a version may be started from
"""
