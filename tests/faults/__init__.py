"""What happens to commands that are killed, stopped, starved or disturbed.

``python -m tests.faults`` does it to each command, some thirty times, at moments drawn from a
seed, gives the same command again, and holds what is left to what an undisturbed run leaves.
"""
