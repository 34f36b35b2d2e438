"""The fork server's protocol: one-way packets on its control socket (SOCK_SEQPACKET).

A packet is a kind and an engine id. FORK carries two descriptors (SCM_RIGHTS): the engine's end of its
channel, and the writing end of its sentinel.
"""

import struct

FORK, KILL = b"F", b"K"
PACKET = struct.Struct("!cI")
