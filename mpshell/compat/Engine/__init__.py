"""The names of ClusterShell.Engine."""
