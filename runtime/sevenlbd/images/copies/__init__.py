"""A node's own copies of versions: fetched piece by piece, verified as they come, within a quota."""
