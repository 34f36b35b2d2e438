"""The part that runs beside the user's code: the coordinator of a Task's runs, and how it gets its engines."""
