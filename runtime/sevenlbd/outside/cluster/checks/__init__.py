"""`doctor --site`: the whole site file against a node, as sessions, jobs and the portal would meet it."""
