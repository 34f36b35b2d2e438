"""The names of ClusterShell.Worker."""
