"""The checker's part: everything about a session is checked before the first side effect. A fork of the supervisor.

- at_rest: whether anything may lie on the node in the clear
- checker: the fork that checks while the supervisor is loaded
- giving_way: a session in the background: whether there is room for it
- guest_machine: what machine the image asks for and the node gives
- pool_session: a session whose guest joins a pool
- prepare: the checks, and the plan that comes of them
- prepared: a session that can begin
- private_places: folders of ours that no share shows
- remarks: warnings and notes, as they come up
- resuming: a saved desktop that is to go on here
- savable: what a session would be as a saved desktop
- timezones: the guest's time zone, by the names of both systems
- trust: whether the site's keys vouch for an image
- warmth: whether a warm state fits
"""
