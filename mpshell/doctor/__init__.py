"""`mpshell --doctor`: which limits of this machine a sweep from it meets, and the remedy for each.

Each check reads the system and returns findings; none changes anything, and none connects to a node. Loaded
with --doctor alone.
"""
