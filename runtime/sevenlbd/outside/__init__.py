"""The node's side of the wall: whatever needs the user's terminal, files or the node's network."""
