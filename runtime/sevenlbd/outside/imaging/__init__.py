"""The verb `image`: what an admin does with golden images. Each module here is one group of its verbs."""
