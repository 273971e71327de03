"""The grid: borrowed machines that run research VMs, and the pool's service that tells them what is wanted.

- protocol: what a machine and the pool's service say to each other
"""
