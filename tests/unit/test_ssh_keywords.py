"""Every keyword of ssh_config(5) stands in one list: the manual pages of OpenSSH 9 and 10 are the measure."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from mpshell.ssh import keywords

HERE = Path(__file__).parent

#: The page of the installed OpenSSH, where there is one.
PAGE = Path("/usr/share/man/man5/ssh_config.5.gz")


def of_release(number: int) -> set[str]:
    """Return the keywords of the manual page of a release."""
    lines = (HERE / f"ssh_keywords_{number}.txt").read_text().splitlines()
    return {line.lower() for line in lines if not line.startswith("#")}


def of_installed() -> set[str]:
    """Return the keywords of the installed manual page, none when there is none."""
    if not PAGE.exists():
        return set()
    text = gzip.decompress(PAGE.read_bytes()).decode()
    # Keywords begin with a capital; other items of such lists are values.
    return {word.lower() for word in re.findall(r"^\.It Cm ([A-Z]\w+)\s*$", text, re.MULTILINE)}


def lists_of(keyword: str) -> list[str]:
    lists = {
        "honoured": keywords.HONOURED,
        "harmless": keywords.HARMLESS,
        "falls back": keywords.FALLS_BACK,
    }
    return [name for name, members in lists.items() if keyword in members]


@pytest.mark.parametrize("release", [9, 10])
def test_every_keyword_of_a_release_is_in_exactly_one_list(release: int) -> None:
    wrong = {word: lists_of(word) for word in of_release(release) if len(lists_of(word)) != 1}
    assert not wrong
    assert len(of_release(release)) > 100


def test_every_keyword_of_the_installed_page_is_in_exactly_one_list() -> None:
    wrong = {word: lists_of(word) for word in of_installed() if len(lists_of(word)) != 1}
    assert not wrong


def test_no_list_has_a_keyword_that_no_release_has() -> None:
    documented = of_release(9) | of_release(10) | of_installed()
    #: Of OpenSSH 10.1 and later.
    newer = {"refuseconnection", "warnweakcrypto"}
    for members in (keywords.HONOURED, keywords.HARMLESS, keywords.FALLS_BACK):
        assert set(members) <= documented | newer


def test_other_names_lead_to_a_keyword_and_are_none() -> None:
    for name, keyword in keywords.ALIASES.items():
        assert len(lists_of(keyword)) == 1
        assert not lists_of(name)
    assert not [name for name in keywords.OBSOLETE if lists_of(name)]
    assert set(keywords.HONOURED) >= keywords.ACCUMULATING
    assert set(keywords.CHOICES) <= set(keywords.HONOURED)


def test_messages_spell_keywords_as_the_manual_page_does() -> None:
    for name in keywords.FALLS_BACK:
        spelled = keywords.spelled(f"{name} value")
        assert spelled != f"{name} value" and spelled.lower() == f"{name} value"
    assert keywords.spelled("proxyjump a,b") == "ProxyJump a,b"
    assert keywords.spelled("Match exec true") == "Match exec true"
