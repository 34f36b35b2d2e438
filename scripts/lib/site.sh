# Run by `scripts/docs site`: builds the site in an environment of its own, with warnings as errors.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/scripts/lib/env.sh"
make_venv "$(find_pythons | sed -n 1p)" docs
rm -rf "$root/build/site"
"$venv/bin/python" -m sphinx -q -E -W --keep-going -d "$root/build/doctrees" -c "$root/docs/site" "$root/docs" "$root/build/site"
say "build/site/index.html is written"
