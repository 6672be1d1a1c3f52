"""
A simulated world around ``execution/``: the real engine, virtual time, one thread, and everything that can go wrong.

``python -m tests.simulation 20000`` (``make simulate N=20000``) runs schedules; a seed replays one exactly.
"""
