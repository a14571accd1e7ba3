"""Declared files of tasks, and the folder of a run.

Imports the leaves alone; staging and fsspec are loaded when a task declares a file.

- `sources`: what users write as the source or the name of a file.
- `declared`: `InputFile`, `OutputFile`, and what one call declares.
- `copying`, `staging`: how a copy appears whole; the files of one task in its folder.
- `work_dir`: the folder of a run.
"""
