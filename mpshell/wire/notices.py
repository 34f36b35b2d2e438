"""The texts of `Notices`: each is true of some nodes of a run, and is shown to the user in one line."""

#: These nodes run over ssh(1); a reason follows.
OVER_SSH = "over ssh(1) in place of asyncssh"

#: The reason follows, which differs from node to node.
NOTICE_REASON = "\0"

#: A server has dropped each connection: MaxStartups, or PerSourcePenalties.
NOT_LET_IN = (
    "not reached: their server dropped each connection before the login, until connect_timeout was over "
    "(sshd_config(5): MaxStartups, PerSourcePenalties)"
)
