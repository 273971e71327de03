"""Installation discs as files: written, read, and recognised."""
