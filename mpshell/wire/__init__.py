"""The language of mpshell's processes: messages, frames, and the fork server's packets."""
