"""On the cluster: what a job gives, the scheduler's commands, sessions on other nodes, what a site is rendered."""
