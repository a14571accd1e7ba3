"""TLS with certificates as a site would give them out."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import LocalCluster, Security
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.testing import RecordingSink


class Authority:
    """An authority that gives out certificates for this machine, below *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        own = self._sign(self._name, self._key, authority=True)
        self.file = self._write("authority.pem", own.public_bytes(serialization.Encoding.PEM))

    def settings(self, who: str) -> dict[str, Any]:
        """Return a new certificate as settings of Dask's."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        signed = self._sign(name, key, authority=False)
        pem = serialization.Encoding.PEM
        plain = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = self._write(f"{who}.pem", signed.public_bytes(pem))
        secret = self._write(f"{who}-key.pem", plain)
        roles = {
            f"tls_{role}_{what}": file
            for role in ("client", "scheduler", "worker")
            for what, file in (("cert", certificate), ("key", secret))
        }
        return {"require_encryption": True, "tls_ca_file": self.file, **roles}

    def _write(self, name: str, data: bytes) -> str:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        return str(path)

    def _sign(self, name: x509.Name, key: Any, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([here]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "site")


async def test_an_own_cluster_speaks_tls_with_the_certificates_of_a_site(
    authority: Authority,
) -> None:
    settings = {
        "n_workers": 1,
        "dashboard_address": None,
        "security": authority.settings("cluster"),
        "require_tls": True,
    }
    async with WorkflowEngine.create("dask", config=settings) as flow:
        assert await flow.function_task(len)(bytes(500_000)) == 500_000
        assert (await flow.executable_task(lambda: "echo safe")()).strip() == "safe"


async def test_a_cluster_of_others_lets_in_who_has_a_certificate_and_nobody_else(
    authority: Authority, tmp_path: Path
) -> None:
    theirs = Security(**authority.settings("theirs"))
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        protocol="tls://",
        security=theirs,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        ours = {"address": address, "security": authority.settings("ours"), "require_tls": True}
        async with WorkflowEngine.create("dask", config=ours) as flow:
            assert await flow.function_task(pow)(2, 5) == 32
        stranger = Authority(tmp_path / "elsewhere").settings("stranger")
        for wrong in (stranger, None):
            backend = DaskExecutionBackend(address=address, security=wrong, startup_timeout=3)
            with pytest.raises(BackendStartError):
                await backend.start(RecordingSink())
