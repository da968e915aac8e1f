#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Collector of this folder and prints the path of its binary as the last line. Needs only Go (1.25 or later).
#
# The binary is built once and kept outside the checkout, under a name made from the manifest, go.mod, go.sum, Go's
# version and the flags below: a change to any of them builds anew, everything else finds what is there.
#
#   build.sh          build if need be, print the path
#   build.sh --find   print the path if it was built, else end with 1
#
#   OTELCOL_MCP_AUDIT        use this binary: nothing is built, its path is printed
#   OTELCOL_MCP_AUDIT_CACHE  where binaries are kept; default ${XDG_CACHE_HOME:-~/.cache}/otelcol-mcp-audit
#   GO                       the go command, when it is neither on PATH nor in /usr/local/go/bin
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The builder that made the committed go.mod.
BUILDER=go.opentelemetry.io/collector/cmd/builder@v0.158.0
FLAGS=(-mod=readonly -trimpath -buildvcs=false -tags grpcnotrace "-ldflags=-s -w")

say() { echo "build.sh: $*" >&2; }

if [ -n "${OTELCOL_MCP_AUDIT:-}" ]; then
	[ -x "$OTELCOL_MCP_AUDIT" ] || { say "OTELCOL_MCP_AUDIT=$OTELCOL_MCP_AUDIT is not a program"; exit 1; }
	echo "$OTELCOL_MCP_AUDIT"
	exit
fi

GO=${GO:-$(command -v go || echo /usr/local/go/bin/go)}
version=$("$GO" env GOVERSION GOOS GOARCH 2>/dev/null) || { say "no Go: install it (https://go.dev/dl) or name it in GO"; exit 1; }

digest() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
key=$({ echo "$version" "$BUILDER" "${FLAGS[@]}"; cat builder.yaml go.mod go.sum; } | digest | cut -c 1-16)
kept=${OTELCOL_MCP_AUDIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/otelcol-mcp-audit}
binary=$kept/$key/otelcol-mcp-audit

build() {
	local work
	work=$(mktemp -d "$kept/build.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$work'" EXIT
	cp builder.yaml "$work"
	say "building $binary (some minutes the first time)"
	# Sources only: the builder's own `go mod tidy` would choose versions again. The committed go.mod and go.sum decide.
	(cd "$work" && GOWORK=off GOFLAGS= "$GO" run "$BUILDER" --config builder.yaml --skip-get-modules --skip-compilation)
	cp go.mod go.sum "$work/_build"
	(cd "$work/_build" && CGO_ENABLED=0 GOWORK=off GOFLAGS= "$GO" build "${FLAGS[@]}" -o "$work/otelcol-mcp-audit" .)
	# A rename: whoever looks sees the whole binary or none.
	mv "$work/otelcol-mcp-audit" "$binary"
}

if [ ! -x "$binary" ]; then
	if [ "${1:-}" = --find ]; then say "not built yet: $binary"; exit 1; fi
	# Two that start at once: the second waits for the first where flock exists, and builds for nothing where it does not.
	mkdir -p "$kept/$key"
	exec 9>"$kept/$key/lock"
	if command -v flock >/dev/null; then flock 9; fi
	if [ ! -x "$binary" ]; then build >&2; fi
fi
echo "$binary"
