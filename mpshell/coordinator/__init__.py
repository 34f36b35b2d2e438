"""The part that runs in the user's process: the coordinator of a Task's runs, and how it gets its engines."""
