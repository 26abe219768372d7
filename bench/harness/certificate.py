"""The certificate of all balancers: P-256, generated for each run, so that no key is stored."""

import subprocess
from pathlib import Path


def make(folder: Path) -> Path:
    """Creates `cert.pem`, `key.pem` and `both.pem`, which contains both, in a folder, and returns the folder."""
    folder.mkdir()
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
    return folder
