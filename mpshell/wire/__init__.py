"""What the processes of mpshell send each other: messages, frames, and the fork server's packets."""
