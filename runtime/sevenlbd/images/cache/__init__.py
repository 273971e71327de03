"""A node's own copies of versions: fetched piece by piece, verified as they come, within a quota.

- fetch: copying piece by piece, verified
- node_cache: copies, looked at before the repository
- sparse: files with holes
"""
