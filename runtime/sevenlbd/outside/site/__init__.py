"""The site's file: its tables, and how the appliance is called where they say.

- appliance_call: how the appliance is called on a node
- binds: which folders a container must show
- condor_table: `[condor]`
- network_table: `[network.project.NAME]`
- ondemand_table: `[ondemand]`
- owner_table: `[owner]`
- grid_table: `[grid]`
- pool_table: `[pool]`
- site_file: `render site`: the file, made from the declarations
- site_tables: the tables, each key declared once
"""
