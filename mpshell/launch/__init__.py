"""Where engines come from: links to engines, the launcher that forks them here, the pool."""
