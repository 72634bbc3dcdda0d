"""Random input to every door: command lines and files that are damaged, odd or hostile.

A case is a command line of diffode with the files that it names, made by the dice of its kind,
the seed and its number: so (kind, seed, number) makes it again, alone. Each kind is a file in
`tests.fuzz.kinds`; `tests.fuzz.sandbox` has the folder in which a case runs, `tests.fuzz.judge`
says what a command may do there, and `python -m tests.fuzz` counts.
"""
