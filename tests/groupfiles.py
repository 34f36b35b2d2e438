"""Files of groups as a site has them: groups.conf, confdir, autodir, upcalls in shell, a cached source."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent


def write_groups(folder: Path) -> Path:
    """Write a groups.conf and the files that it refers to, and return its path.

    Its sources: `local` (a file and sed, the default), `roles` and `racks` (YAML), `batch` (of confdir, with a
    script beside it that counts its calls in a file `calls`), `fresh` (the same without a cache), and `bad`,
    each of whose groups fails in its own way.
    """
    for name in ("groups.d", "groups.conf.d"):
        (folder / name).mkdir(parents=True)
    (folder / "members").write_text(
        "compute: n[1-6]\nlogin: gw[1-2]\nall: @compute,@login\ngpu: n[5-6]\nmixed: @roles:web,@gpu\n"
    )
    (folder / "groups.conf").write_text(
        dedent(r"""
            [Main]
            default: local
            confdir: $CFGDIR/groups.conf.d
            autodir: $CFGDIR/groups.d

            [local]
            map: sed -n 's/^$GROUP: *//p' $CFGDIR/members
            all: sed -n 's/^all: *//p' $CFGDIR/members
            list: sed -n 's/^\([a-z]*\):.*/\1/p' $CFGDIR/members
            """)
    )
    (folder / "groups.d" / "cluster.yaml").write_text(
        dedent("""
            roles:
                web: 'w[1-3]'
                db: 'db1,db2'
                all: '@web,@db'
            racks:
                rack1: 'n[1-3]'
                rack2: 'n[4-6]'
            """)
    )
    script = folder / "groups.conf.d" / "jobs"
    script.write_text(
        "#!/bin/sh\necho x >>calls\ncase $1 in\n"
        "7) cat >/dev/null; echo n2 n4 ;;\nlist) echo 7 8 ;;\nof) echo 7 ;;\nesac\n"
    )
    script.chmod(0o755)
    (folder / "groups.conf.d" / "batch.conf").write_text(
        dedent("""
            [batch]
            map: ./jobs $GROUP
            list: ./jobs list
            reverse: ./jobs of $NODE

            [fresh]
            map: ./jobs $GROUP
            cache_time: 0

            [bad]
            map: ./fails $GROUP
            """)
    )
    fails = folder / "groups.conf.d" / "fails"
    fails.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "status) exit 3 ;;\nsignal) kill -9 $$ ;;\nrubbish) echo 'n[1-' ;;\nhangs) sleep 1000 ;;\n"
        "forever) yes n1 ;;\nself) echo @self ;;\ndeeper*) echo @${1}r ;;\nbytes) printf 'n\\351' ;;\nesac\n"
    )
    fails.chmod(0o755)
    return folder / "groups.conf"


def calls(folder: Path) -> int:
    """Return how often the source `batch` or `fresh` was asked."""
    path = folder / "groups.conf.d" / "calls"
    return len(path.read_text().split()) if path.exists() else 0
