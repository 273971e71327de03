"""What a session may reach: decided before it starts, outside the relay. Connects to nothing.

- decide: the list, narrowed, looked up and checked
- rules: what a site writes, read
"""
