#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the test suite of an MCP SDK as it is and once more with every process of it audited, and compares the results.
#
#   tests/sdk_suites.sh PYTHON CHECKOUT [argument of pytest]...
#
# PYTHON: the interpreter of an environment with the checkout, its test dependencies and this project.
# CHECKOUT: a work tree of the SDK, the folder that its own tests are run from.
#
#   tests/sdk_suites.sh ~/sdk/.venv/bin/python ~/sdk tests -p no:cacheprovider
#   SUITE_OUT=/tmp/out tests/sdk_suites.sh …      keep both lists of results, the logs and the journal there
#
# Ends with 0 when both lists are the same, 1 when they differ. A test that differs is run again alone, three times each
# way: where those runs agree it is named as flaky. The journal of the audited run must verify and hold records.
set -euo pipefail
if [ "$#" -lt 2 ]; then
  sed -n '5,16p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
fi
exec "$1" "$(dirname "$0")/sdk_suites.py" "${@:2}"
