"""The way out: what of the node's network the guest may reach, and the relay that carries it."""
