"""Images: what a disk is and what it asks for. Knows nothing of sessions, nor of either side."""
