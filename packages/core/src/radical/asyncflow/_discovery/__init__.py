"""The backends and plugins that are installed, and the profiles that choose among them.

`metadata` reads what is installed, `listing` and `declared` turn it into facts and errors,
`plugins` and `registry` load it on demand, `settings` and `profiles` read what the user chose.
The room imports the leaves, `config`, `backend` and `hookspecs`, and nothing of a run.
"""
