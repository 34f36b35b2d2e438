"""The rows of the table, by subject. A case describes the work of its contenders; nothing is run here."""

from scripts.benchmark.cases import commands, growth, hosts, kept, names, output, relay, ssh, start
from scripts.benchmark.model import Case

CASES: dict[str, Case] = {
    case.name: case
    for module in (commands, output, growth, start, names, ssh, kept, relay, hosts)
    for case in module.CASES
}
