"""Every keyword of ssh_config(5) in one of three lists: honoured, harmless, or for ssh(1) alone. Pure.

A keyword in none of them leads to ssh(1) too: no option is dropped silently. `tests/unit/test_ssh_keywords.py`
compares the lists with the manual pages of OpenSSH 9 and 10.
"""

from __future__ import annotations

#: Forms of a value.
FLAG, NUMBER, PORT, TIME, WORD, WORDS, LINE, ALGORITHMS, STRUCTURE, CHOICE = (
    "flag", "number", "port", "time", "word", "words", "line", "algorithms", "structure", "choice",
)  # fmt: skip

#: Keywords that decide the connection here as they do in ssh(1), with the form of their value.
HONOURED = {
    "host": STRUCTURE, "match": STRUCTURE, "include": STRUCTURE, "ignoreunknown": WORD,
    "addressfamily": CHOICE, "casignaturealgorithms": ALGORITHMS, "certificatefile": WORD,
    "ciphers": ALGORITHMS, "compression": FLAG, "connecttimeout": TIME, "globalknownhostsfile": WORDS,
    "hashknownhosts": FLAG, "hostkeyalgorithms": ALGORITHMS, "hostkeyalias": WORD, "hostname": WORD,
    "identitiesonly": FLAG, "identityagent": WORD, "identityfile": WORD,
    "kbdinteractiveauthentication": FLAG, "kexalgorithms": ALGORITHMS, "macs": ALGORITHMS,
    "passwordauthentication": FLAG, "port": PORT, "preferredauthentications": WORD,
    "proxycommand": LINE, "proxyjump": LINE, "pubkeyacceptedalgorithms": ALGORITHMS,
    "pubkeyauthentication": CHOICE, "rekeylimit": WORDS, "requiredrsasize": NUMBER, "sendenv": WORDS,
    "serveralivecountmax": NUMBER, "loglevel": CHOICE, "controlpath": WORD,
    "serveraliveinterval": TIME, "setenv": WORDS,
    "stricthostkeychecking": CHOICE, "tag": WORD, "tcpkeepalive": FLAG, "user": WORD,
    "userknownhostsfile": WORDS,
}  # fmt: skip

#: The words that keywords of a few words take.
CHOICES = {
    "addressfamily": ("any", "inet", "inet6"),
    "pubkeyauthentication": ("yes", "true", "no", "false", "unbound", "host-bound"),
    "loglevel": (
        "silent",
        "quiet",
        "fatal",
        "error",
        "info",
        "verbose",
        "debug",
        "debug1",
        "debug2",
        "debug3",
    ),
    "stricthostkeychecking": ("yes", "true", "no", "false", "off", "ask", "accept-new"),
}

#: Keywords that change nothing about a command without a terminal and without forwardings, or only what ssh(1)
#: writes, keeps for later, or would ask a person.
HARMLESS = frozenset(
    (
        "addkeystoagent", "batchmode", "canonicaldomains", "canonicalizefallbacklocal",
        "canonicalizemaxdots", "canonicalizepermittedcnames", "clearallforwardings", "controlmaster",
        "controlpersist", "enableescapecommandline", "enablesshkeysign", "escapechar",
        "exitonforwardfailure", "fingerprinthash", "forwardx11timeout", "forwardx11trusted",
        "gatewayports", "gssapiclientidentity", "gssapidelegatecredentials", "gssapikexalgorithms",
        "gssapirenewalforcesrekey", "gssapiserveridentity", "gssapitrustdns", "hostbasedacceptedalgorithms",
        "ipqos", "kbdinteractivedevices", "localcommand",
        "numberofpasswordprompts", "obscurekeystroketiming", "permitremoteopen", "securitykeyprovider",
        "streamlocalbindmask", "streamlocalbindunlink", "syslogfacility", "tunneldevice",
        "updatehostkeys", "versionaddendum", "visualhostkey", "warnweakcrypto", "xauthlocation",
    )
)  # fmt: skip

_NO = frozenset(("no", "false"))
_NONE = frozenset(("none",))

#: Keywords for which the node goes to ssh(1), and the values that ask for nothing.
FALLS_BACK = {
    "bindaddress": frozenset[str](), "bindinterface": frozenset[str](),
    "canonicalizehostname": _NO, "channeltimeout": _NONE, "checkhostip": _NO,
    "connectionattempts": frozenset(("1",)), "dynamicforward": frozenset[str](),
    "forkafterauthentication": _NO, "forwardagent": _NO, "forwardx11": _NO,
    "gssapiauthentication": _NO, "gssapikeyexchange": _NO, "hostbasedauthentication": _NO,
    "knownhostscommand": _NONE, "logverbose": _NONE, "localforward": frozenset[str](),
    "nohostauthenticationforlocalhost": _NO, "permitlocalcommand": _NO, "pkcs11provider": _NONE,
    "proxyusefdpass": _NO, "refuseconnection": frozenset[str](), "remotecommand": _NONE,
    "remoteforward": frozenset[str](), "requesttty": _NO | {"auto"}, "revokedhostkeys": _NONE,
    "sessiontype": frozenset(("default",)), "stdinnull": _NO, "tunnel": _NO, "verifyhostkeydns": _NO,
}  # fmt: skip

#: Other names of keywords.
ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "tisauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication", "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "identityfile2": "identityfile", "keepalive": "tcpkeepalive",
    "protocolkeepalives": "serveraliveinterval", "setuptimeout": "serveraliveinterval",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms", "smartcarddevice": "pkcs11provider",
}  # fmt: skip

#: Keywords that ssh(1) accepts and ignores: of protocol 1, and of obsolete programs.
OBSOLETE = frozenset(
    (
        "afstokenpassing", "cipher", "compressionlevel", "fallbacktorsh", "globalknownhostsfile2",
        "kerberosauthentication", "kerberostgtpassing", "protocol", "rhostsauthentication",
        "rhostsrsaauthentication", "rsaauthentication", "useprivilegedport", "useroaming", "usersh",
        "userknownhostsfile2",
    )
)  # fmt: skip

#: Keywords of which every line counts; of all others the first.
ACCUMULATING = frozenset(("identityfile", "certificatefile", "sendenv"))

#: Keywords as ssh_config(5) spells them, for messages.
_SPELLINGS = {
    name.lower(): name
    for name in (
        "BindAddress", "BindInterface", "CanonicalizeHostname", "ChannelTimeout", "CheckHostIP", "Ciphers",
        "ConnectionAttempts", "ControlPath", "DynamicForward", "ForkAfterAuthentication", "ForwardAgent",
        "ForwardX11", "GSSAPIAuthentication", "GSSAPIKeyExchange", "HostbasedAuthentication", "Hostname",
        "HostKeyAlgorithms", "IdentityFile", "KexAlgorithms", "KnownHostsCommand", "LocalForward", "LogLevel",
        "LogVerbose", "MACs", "NoHostAuthenticationForLocalhost", "PermitLocalCommand", "PKCS11Provider",
        "ProxyCommand", "ProxyJump", "ProxyUseFdpass", "RefuseConnection", "RemoteCommand",
        "RemoteForward", "RequestTTY", "RevokedHostKeys", "SessionType", "StdinNull", "Tunnel",
        "VerifyHostKeyDNS",
    )
}  # fmt: skip


def spelled(text: str) -> str:
    """Return a text that begins with a keyword, with that as the manual page has it."""
    keyword, space, rest = text.partition(" ")
    return f"{_SPELLINGS.get(keyword, keyword)}{space}{rest}"
