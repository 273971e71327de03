"""Open OnDemand: the app that a portal shows, made of the site's file, and what comes back from its form.

- app_files: the app's files
- condor_lines: what its jobs ask of HTCondor
- form: what came back from the form
- image_choices: what its jobs know of the images
- placing: written, and again after an upgrade
- render_app: `render ondemand`
- suspended: a desktop that the form goes on from
"""
