"""The licence of every package of constraints.txt, into NOTICE between its two marks. With --check: whether it stands there.

In: what is installed. A package that is not (of another system, say) keeps the line that it has.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "Packages of constraints.txt and their licences, by .ci/licences.py:\n", "End of the packages.\n"
CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


def licence(name: str) -> str | None:
    """By its metadata; None where it is not installed."""
    try:
        facts = metadata(name)
    except PackageNotFoundError:
        return None
    named = [
        found[1]
        for c in facts.get_all("Classifier") or []
        if (found := CLASSIFIER.fullmatch(c)) and found[1] != "OSI Approved"
    ]
    short = (facts.get("License") or "").strip().splitlines()[:1]
    return facts.get("License-Expression") or ", ".join(named) or (short[0][:80] if short else "") or "see the package"


def names() -> list[str]:
    """Packages of constraints.txt."""
    return sorted(set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==", (ROOT / "constraints.txt").read_text())))


def main() -> int:
    """Write it, or compare."""
    notice = (ROOT / "NOTICE").read_text()
    before, _, rest = notice.partition(BEGIN)
    old = dict(re.findall(r"(?m)^- ([A-Za-z0-9._-]+): (.+)$", rest.partition(END)[0]))
    if "--check" in sys.argv:
        absent = [n for n in names() if n not in old]
        print(
            f"NOTICE lacks {', '.join(absent)}; run .ci/licences.py"
            if absent
            else f"NOTICE has all {len(old)} packages"
        )
        return bool(absent)
    lines = "".join(f"- {n}: {licence(n) or old.get(n, 'not installed where this list was made')}\n" for n in names())
    (ROOT / "NOTICE").write_text(f"{before.rstrip()}\n\n{BEGIN}{lines}{END}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
