"""URLs: what they mean, and that none shows a password."""

from __future__ import annotations

import re
import traceback
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from engine import InvalidValueError, JobEngine, SyncJobEngine
from engine.storage.postgres import PostgresStorage
from engine.storage.postgres.location import Location

SECRET = "s3cr3t"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    ("url", "name", "schema"),
    [
        ("postgres://host/db", "postgresql://host/db", "engine"),
        (f"postgresql://u:{SECRET}@h:7/db", "postgresql://u@h:7/db", "engine"),
        (f"postgresql://u:{SECRET}%40%2F@h/d%2Fb", "postgresql://u@h/d%2Fb", "engine"),
        (f"postgresql://u:?schema={SECRET}@h/db", "postgresql://u@h/db", "engine"),
        (
            f"postgresql://h/db?sslmode=require&password={SECRET}&sslpassword={SECRET}&schema=shop",
            "postgresql://h/db?sslmode=require&schema=shop",
            "shop",
        ),
        ("postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db", "engine"),
        ("postgresql://h1,h2/db?port=9", "postgresql://h1:9,h2:9/db", "engine"),
        ("postgresql://[::1]:7/db", "postgresql://[::1]:7/db", "engine"),
        ("postgresql:///db?host=/run/x&user=u", "postgresql://u@%2Frun%2Fx/db", "engine"),
        ("postgresql:///db?schema=a%20b", "postgresql:///db?schema=a%20b", "a b"),
        ("postgresql:///db?options=-c%20a%3Db", "postgresql:///db?options=-c%20a%3Db", "engine"),
    ],
)
def test_a_name_is_the_url_without_its_passwords(url: str, name: str, schema: str) -> None:
    location, named = Location(url), Location(name)
    assert (location.name, location.schema) == (name, schema)
    assert (named.name, named.schema) == (name, schema)
    assert SECRET not in f"{location}{location.name}{PostgresStorage(url)!r}"
    secrets = {"password", "sslpassword", "port"}  # one port may stand for several hosts
    assert {each: value for each, value in location.parameters.items() if each not in secrets} == {
        each: value for each, value in named.parameters.items() if each not in secrets
    }


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:x@{SECRET}@h/db",
        f"postgresql://u:x/{SECRET}@h/db",
        f"postgresql://u:{SECRET}@h/db?no=parameter",
        f"postgresql://h/db?password={SECRET}&no=parameter",
        f"postgresql://u:{SECRET}@[h/db",
        f"postgresql://u:{SECRET}@h/db?schema={'x' * 64}",
        f"postgresql://u:{SECRET}@h/db?schema=",
        f"postgresql://u:{SECRET}@h/db?schema=%25",
    ],
)
def test_a_refusal_shows_no_password(url: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Location(url)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("wrong", ["", "x" * 64, "é" * 32, "50%", 7])
def test_a_name_that_no_schema_can_have_is_refused(wrong: Any) -> None:  # noqa: ANN401 - for a str
    with pytest.raises(InvalidValueError, match="schema"):
        PostgresStorage("postgresql://h/db", schema=wrong)


def test_the_url_names_the_schema_unless_the_argument_does(postgres_url: str) -> None:
    for storage in (
        PostgresStorage(f"{postgres_url}?schema=one"),
        PostgresStorage(f"{postgres_url}?schema=other", schema='two "2"'),
    ):
        with SyncJobEngine(storage) as engine:
            engine.create("input")
    with psycopg.connect(postgres_url) as connection:
        query = "SELECT nspname FROM pg_namespace WHERE nspname IN ('one', 'other', 'two \"2\"')"
        assert sorted(connection.execute(query)) == [("one",), ('two "2"',)]


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
    ("given", "level"),
    [
        ("", "on"),
        ("-c synchronous_commit=off", "on"),
        ("-csynchronous_commit=remote_write", "on"),
        ("-c synchronous_commit=remote_apply", "remote_apply"),
        ("--synchronous-commit=remote_apply -c work_mem=8MB", "remote_apply"),
    ],
)
def test_a_url_may_only_make_a_commit_stricter(given: str, level: str) -> None:
    options = str(Location(f"postgresql://host/jobs?options={quote(given)}").parameters["options"])
    levels = re.findall(r"synchronous[_-]commit=(\w+)", options)
    assert levels[-1] == level


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
