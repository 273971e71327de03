"""The repository on its disk: versions, which of them is current, who uses them, and what may go."""
