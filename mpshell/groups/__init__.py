"""Node groups as ClusterShell's own resolver has them (the extra `mpshell[groups]`), loaded when one is met."""
