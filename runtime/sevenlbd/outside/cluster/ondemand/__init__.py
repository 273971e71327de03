"""Open OnDemand: the app that a portal shows, made of the site's file, and what comes back from its form."""
