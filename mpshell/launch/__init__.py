"""Starting engines: links to engines, the launcher that forks them on this host, the pool."""
