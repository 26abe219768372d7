"""The certificate that all balancers show: P-256, made anew for each run, so that no key is kept anywhere."""

import subprocess
from pathlib import Path


def make(folder: Path) -> Path:
    """Makes `cert.pem`, `key.pem` and, with both of them, `both.pem` in a folder, which is returned."""
    folder.mkdir()
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
    return folder
