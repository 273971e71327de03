"""7lbd appliance: an isolated Windows desktop on a cluster node, from one file."""

__version__ = "0.1.0"
