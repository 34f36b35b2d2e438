"""What runs in the fork server and in the engine processes. It knows no Task, worker or handler."""
