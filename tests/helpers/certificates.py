# SPDX-License-Identifier: Apache-2.0
"""Certificates of a private authority, made by the ``openssl`` command, for 127.0.0.1 and an hour or so."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A root of its own in ``folder``; every certificate that :meth:`issue` makes is good for server and client."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        # What it may do must be said: Python verifies strictly from 3.13 on.
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._openssl("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "1", *use, *self._out(self.pair))

    @property
    def root(self) -> Path:
        """What a peer must trust."""
        return self.pair.cert

    def issue(self, name: str) -> Pair:
        """A certificate for 127.0.0.1 with this common name."""
        made = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        signed_by = ("-CA", str(self.pair.cert), "-CAkey", str(self.pair.key))
        alternative = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
        self._openssl(
            "req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "1", *alternative, *signed_by, *self._out(made)
        )
        return made

    @staticmethod
    def _out(pair: Pair) -> tuple[str, ...]:
        return ("-out", str(pair.cert), "-keyout", str(pair.key))

    @staticmethod
    def _openssl(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
