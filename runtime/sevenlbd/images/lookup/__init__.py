"""From the name that a user gives to an image: looked up in repositories and cache, every layer known.

- image: an image, resolved down to its last layer
- repositories: names looked up in several repositories
"""
