"""Declared files of tasks, and the folder of a run.

This room imports leaves only.  Staging and fsspec are loaded when a task declares a file.

- `sources`: reads what users write as the source or the name of a file.
- `declared`: `InputFile`, `OutputFile`, and the files that one call declares.
- `copying`: copies a file or folder so that it appears whole.
- `staging`: the files of one task in its folder.
- `delivery`: moves what a task wrote to where its outputs belong.
- `targets`: where the outputs of a run belong, and to which unfinished task.
- `work_dir`: the folder of a run.
"""
