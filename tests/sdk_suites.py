# SPDX-License-Identifier: Apache-2.0
"""The work of ``sdk_suites.sh``: run a suite twice, compare test by test, run again what differs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

# Loaded by every Python process of the audited run, as a plugin loader would: the hooks, and nothing of OpenTelemetry's.
SITE = "from opentelemetry.instrumentation.mcp_audit.instrumentor import pre_instrument\npre_instrument()\n"
AGAIN = 3
# Tests that hold the SDK to what the audit changes on purpose and says so; each is printed with its reason.
EXPECTED = {
    "tests/server/test_otel.py::test_validation_failure_sets_sanitized_status": (
        "it wants a server span without any event; the audit adds the one that points to the record"
    ),
}
Results = dict[str, str]


def environment(out: Path, audited: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if not audited:
        return kept
    site = out / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    paths = [str(site), *filter(None, [kept.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "OTEL_MCP_AUDIT_DIR": str(out / "journal"),
        "OTEL_MCP_AUDIT_LEVEL": "request_response",
        "OTEL_MCP_AUDIT_CLIENT": "true",
    }


def run(checkout: Path, out: Path, name: str, audited: bool, arguments: Sequence[str]) -> Results:
    """One run of the suite; its output is kept as NAME.log, its results as NAME.xml."""
    report = out / f"{name}.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-o", "junit_family=xunit1", *arguments]
    with (out / f"{name}.log").open("wb") as log:
        subprocess.run(
            command,
            cwd=checkout,
            env=environment(out, audited),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not report.exists():
        raise SystemExit(f"pytest made no report, see {out / name}.log")
    return results(report)


def results(report: Path) -> Results:
    """Test by test what became of it: passed, failed, error or skipped."""
    found: Results = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcome = "error" if "error" in kinds else "failed" if "failure" in kinds else "".join(kinds) or "passed"
        path = case.get("file") or (case.get("classname") or "").replace(".", "/") + ".py"
        inner = (case.get("classname") or "").removeprefix(path.removesuffix(".py").replace("/", ".")).strip(".")
        found["::".join(filter(None, [path, inner.replace(".", "::"), case.get("name")]))] = outcome
    return found


def differing(bare: Mapping[str, str], audited: Mapping[str, str]) -> list[str]:
    return sorted(test for test in bare.keys() | audited.keys() if bare.get(test) != audited.get(test))


def main(checkout: Path, arguments: list[str]) -> int:
    kept = os.environ.get("SUITE_OUT")
    out = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="sdk-suites-"))
    out.mkdir(parents=True, exist_ok=True)
    options = [argument for argument in arguments if not (checkout / argument.partition("::")[0]).exists()]
    bare = run(checkout, out, "bare", False, arguments)
    audited = run(checkout, out, "audited", True, arguments)
    for name, found in (("bare", bare), ("audited", audited)):
        (out / f"{name}.txt").write_text("".join(f"{outcome} {test}\n" for test, outcome in sorted(found.items())))
        counts = {outcome: list(found.values()).count(outcome) for outcome in sorted(set(found.values()))}
        print(f"{name}: {len(found)} tests, {counts}")
    real = []
    for test in differing(bare, audited):
        print(f"differs: {test}: {bare.get(test)} as it is, {audited.get(test)} audited")
        again = [
            [run(checkout, out, "again", way, [*options, test]).get(test) for _ in range(AGAIN)]
            for way in (False, True)
        ]
        print(f"  again, alone: {again[0]} as it is, {again[1]} audited")
        expected = next((why for name, why in EXPECTED.items() if test.endswith(name)), None)
        if set(again[0]) == set(again[1]):
            print("  flaky: the runs alone agree")
        elif expected is not None:
            print(f"  expected: {expected}")
        else:
            real.append(test)
    code = journal(out / "journal")
    print(f"{len(real)} differences beside those expected or flaky; results, logs and journal: {out}")
    return 1 if real or code else 0


def journal(directory: Path) -> int:
    """Verify what the audited run left; not 0 where it left nothing or something wrong."""
    tool = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli"]
    done = subprocess.run([*tool, "verify", str(directory)], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith(("VALID", "VIOLATED"))] or [done.stderr]
    print(f"journal: verify ended with {done.returncode}: {said[-1].strip()}")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
