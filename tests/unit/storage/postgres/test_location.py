"""The URLs of databases: the parameters of a connection, and nothing secret that is shown."""

from __future__ import annotations

import pytest

from engine import InvalidValueError, JobEngine
from engine.storage.postgres import PostgresStorage
from engine.storage.postgres.location import Location


def test_a_url_gives_the_parameters_of_a_connection() -> None:
    url = "postgresql://me:se%40cret%2F@host:1/jobs?sslmode=verify-full&connect_timeout=3"
    parameters = Location(url).parameters
    assert (parameters["user"], parameters["password"]) == ("me", "se@cret/")
    assert (parameters["host"], parameters["port"], parameters["dbname"]) == ("host", "1", "jobs")
    assert (parameters["sslmode"], parameters["connect_timeout"]) == ("verify-full", "3")


def test_what_a_url_lacks_is_left_to_libpq() -> None:
    parameters = Location("postgres://?service=jobs").parameters
    assert not {"host", "port", "user", "password", "dbname"} & parameters.keys()


def test_of_several_hosts_one_that_can_be_written_is_taken() -> None:
    assert Location("postgresql://a,b/jobs").parameters["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in Location("postgresql://a/jobs").parameters
    other = "postgresql://a,b/jobs?target_session_attrs=primary"
    assert Location(other).parameters["target_session_attrs"] == "primary"


def test_options_of_a_url_are_kept_but_do_not_change_the_meaning_of_statements() -> None:
    url = "postgresql://host/jobs?options=-c%20timezone%3DAsia/Tokyo%20-c%20work_mem%3D8MB"
    options = Location(url).parameters["options"]
    assert options.startswith("-c timezone=Asia/Tokyo -c work_mem=8MB -c ")
    assert "-c timezone=UTC" in options


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:secret@host:1/jobs?sslpassword=secret", "postgresql://host:1/jobs"),
        ("postgresql://me:sec%40ret@host/", "postgresql://host/"),
        ("postgresql://me:sec?ret@host/jobs", "postgresql://host/jobs"),
        ("postgresql:///jobs?host=/run&user=me&password=secret", "postgresql:///run/jobs"),
        ("postgresql://a:1,b:2/jobs", "postgresql://a,b:1,2/jobs"),
        ("postgresql://?service=jobs", "postgresql:///"),
    ],
)
def test_no_password_is_shown(url: str, text: str) -> None:
    location = Location(url)
    assert str(location) == text
    for each in (location, PostgresStorage(url)):
        assert "secret" not in repr(each)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sec@ret@host/jobs",
        "postgresql://me:sec/ret@host/jobs",
        "postgresql://me:sec\0ret@host/jobs",
        "postgresql://me:secret@host/jobs\0",
        "postgresql://me:sec\ud800ret@host/jobs",
        "postgresql://me:secret@host/jobs?unheard=of",
        "postgresql://me:sec%zzret@host/jobs",
        "postgresql://me:secret@[host/jobs",
        "host=host password=secret",
        "jobs.db",
        "",
        b"postgresql://me:secret@host/jobs",
    ],
)
def test_another_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidValueError, match="storage must be a URL such as") as caught:
        PostgresStorage(url)
    assert caught.value.__cause__ is caught.value.__context__ is None
    for secret in ("sec", "ret", "unheard"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_an_engine_takes_a_url(scheme: str) -> None:
    with pytest.raises(InvalidValueError, match="storage must be a URL such as postgresql://"):
        JobEngine(f"{scheme}://a@b@c")
