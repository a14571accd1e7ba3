"""New projects: what `asyncflow backends new` and `asyncflow plugins new` write into a folder.

The folders of `templates` are real projects in layers, of a backend or plugin named *skeleton*;
a new one is a copy with another name.  This room imports only leaves, and nothing of `templates`
is ever imported here.
"""
