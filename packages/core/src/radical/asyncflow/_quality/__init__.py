"""The quality of a backend: the reports of its checks, manifests, levels and badges.

A leaf that imports no plugin and no test: whoever reads the files of third parties, such as a
catalog, needs only this room.  `report` has the two files and their readers, `levels` computes a
level from reports, and `badge` draws it.
"""
