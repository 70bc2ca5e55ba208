"""How an engine gets in: by passwords from all of libpq's places, and over TLS."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

import psycopg
import pytest

from engine import JobEngine, StorageError
from engine.cli.program import main
from tests.postgres import Cluster, started_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

HIDDEN: Final = "s3cr:t/ä"
ROLE: Final = "shop"

Give: TypeAlias = Callable[[Cluster, Path, pytest.MonkeyPatch], str]
"""Puts the password somewhere; returns the URL."""


def admit(cluster: Cluster, rule: str) -> None:
    """Let everybody in by this rule alone."""
    (cluster.data / "pg_hba.conf").write_text(f"{rule}\n")
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    """Return a server that wants a password."""
    with started_cluster() as cluster:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{HIDDEN}'".encode())
            connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}".encode())
        admit(cluster, "host all all 127.0.0.1/32 scram-sha-256")
        yield cluster


def url_of(cluster: Cluster, user: str = f"{ROLE}@", query: str = "") -> str:
    return f"postgresql://{user}127.0.0.1:{cluster.port}/{ROLE}{query}"


def in_the_url(cluster: Cluster, _folder: Path, _patch: pytest.MonkeyPatch) -> str:
    return url_of(cluster, f"{ROLE}:{quote(HIDDEN, safe='')}@")


def in_the_environment(cluster: Cluster, _folder: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setenv("PGPASSWORD", HIDDEN)
    return url_of(cluster)


def in_a_password_file(cluster: Cluster, folder: Path, patch: pytest.MonkeyPatch) -> str:
    passwords = folder / "passwords"
    escaped = HIDDEN.replace(":", r"\:")
    passwords.write_text(f"127.0.0.1:{cluster.port}:{ROLE}:{ROLE}:{escaped}\n")
    passwords.chmod(0o600)
    patch.setenv("PGPASSFILE", str(passwords))
    return url_of(cluster)


def in_a_service_file(cluster: Cluster, folder: Path, patch: pytest.MonkeyPatch) -> str:
    services = folder / "services"
    lines = ("host=127.0.0.1", f"port={cluster.port}", f"dbname={ROLE}", f"user={ROLE}")
    services.write_text("\n".join(["[jobs]", *lines, f"password={HIDDEN}", ""]))
    patch.setenv("PGSERVICEFILE", str(services))
    return "postgresql://?service=jobs"


@pytest.mark.parametrize(
    "give", [in_the_url, in_the_environment, in_a_password_file, in_a_service_file]
)
async def test_a_password_is_taken_from_where_libpq_takes_it(
    guarded: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    give: Give,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = give(guarded, tmp_path, monkeypatch)
    async with JobEngine(url) as engine:
        job = await engine.create()
        told = repr(engine)
    assert main(["show", url, job.job_id]) == 0
    assert main(["list", url]) == 0
    told += caplog.text + "".join(capsys.readouterr())
    assert job.job_id in told
    assert not any(each in told for each in (HIDDEN, quote(HIDDEN, safe="")))


async def test_a_wrong_password_is_a_typed_error_without_it(
    guarded: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "in vain")
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        async with JobEngine(url_of(guarded)):
            pass
    assert "in vain" not in f"{caught.value!r}{caught.value.__cause__!r}"


# --- TLS ------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate of this machine that is its own authority; return it and its key."""
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-out", made, "-keyout", key], check=True, capture_output=True
    )
    return made, key


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """Return a server that talks by TLS alone, and the certificate of its authority."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("certificates")
    made, key = certificate(folder, "server")
    with started_cluster() as cluster:
        for each, name in ((made, "server.crt"), (key, "server.key")):
            there = cluster.data / name
            there.write_bytes(each.read_bytes())
            there.chmod(0o600)
            owner = cluster.data.stat()
            shutil.chown(there, owner.st_uid, owner.st_gid)
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN".encode())
            connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}".encode())
            try:
                connection.execute("ALTER SYSTEM SET ssl = on")
            except psycopg.Error as error:  # SSL is not supported by this build
                pytest.skip(str(error))
        cluster.restart()
        admit(cluster, "hostssl all all 127.0.0.1/32 trust")
        yield cluster, made


def secured(cluster: Cluster, authority: Path | None) -> str:
    root = "" if authority is None else f"&sslrootcert={quote(str(authority))}"
    return url_of(
        cluster, query=f"?sslmode={'disable' if authority is None else 'verify-full'}{root}"
    )


async def test_all_connections_of_an_engine_are_encrypted(encrypted: tuple[Cluster, Path]) -> None:
    cluster, authority = encrypted
    url = secured(cluster, authority)
    async with JobEngine(url) as engine:
        await engine.create()
        with psycopg.connect(url) as connection:
            connections: Sequence[tuple[bool]] = connection.execute(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE application_name = 'engine'"
            ).fetchall()
    assert len(connections) > 1
    assert all(is_encrypted for (is_encrypted,) in connections)


async def test_a_server_of_another_authority_is_refused(
    encrypted: tuple[Cluster, Path], tmp_path: Path
) -> None:
    cluster, _ = encrypted
    stranger, _ = certificate(tmp_path, "stranger")
    for authority, text in ((stranger, "certificate verify failed"), (None, "no encryption")):
        with pytest.raises(StorageError, match=text):
            async with JobEngine(secured(cluster, authority)):
                pass
