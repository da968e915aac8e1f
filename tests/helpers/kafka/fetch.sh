#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the Kafka broker of pom.xml once and prints the folder of its jars as the last line. Needs Maven; where the jars
# come from is what the user's Maven settings say. They are kept outside the checkout, under a name made of pom.xml.
#
#   fetch.sh          fetch if need be, print the folder
#   fetch.sh --find   print the folder if it was fetched, else end with 1
#
#   OTELCOL_MCP_AUDIT_CACHE  where it is kept; default ${XDG_CACHE_HOME:-~/.cache}/otelcol-mcp-audit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { echo "fetch.sh: $*" >&2; }
key=$({ if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; } <pom.xml | cut -c 1-16)
kept=${OTELCOL_MCP_AUDIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/otelcol-mcp-audit}/kafka
jars=$kept/$key

if [ ! -d "$jars" ]; then
	if [ "${1:-}" = --find ]; then say "not fetched yet: $jars"; exit 1; fi
	command -v mvn >/dev/null || { say "no Maven (apt-get install maven)"; exit 1; }
	mkdir -p "$kept"
	work=$(mktemp -d "$kept/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	say "fetching the broker into $jars"
	mvn --batch-mode --quiet --file pom.xml dependency:copy-dependencies -DoutputDirectory="$work/jars" >&2
	# A rename: whoever looks sees all jars or none. Two that start at once: the second's are thrown away.
	mv -T "$work/jars" "$jars" 2>/dev/null || [ -d "$jars" ]
fi
echo "$jars"
