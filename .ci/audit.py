"""Known advisories against what constraints.txt names, by pip-audit. Exit status 1 where there is one, 3 where no source of advisories is reached."""

import json
import subprocess
import sys

COMMAND = [
    sys.executable,
    "-m",
    "pip_audit",
    "-r",
    "constraints.txt",
    "--disable-pip",
    "--require-hashes",
    "-f",
    "json",
    "--progress-spinner",
    "off",
]


def main() -> int:
    """Ask, and say what was found."""
    try:
        said = subprocess.run(COMMAND, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603 - its arguments are above
        found = json.loads(said.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("not run: no source of advisories is reached, or pip-audit is not here (pip install pip-audit)")
        return 3
    asked = [row for row in found if "skip_reason" not in row]
    if len(asked) < len(found) / 2:
        print(f"not run: advisories are known of {len(asked)} of {len(found)} packages only")
        return 3
    faults = [
        f"{row['name']} {row['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'none yet'}"
        for row in asked
        for v in row["vulns"]
    ]
    print("\n".join(faults) or f"no advisory against {len(asked)} packages")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
