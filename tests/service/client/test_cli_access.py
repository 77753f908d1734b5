"""`pace key`, `pace project` and `pace audit` against a real API."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.service.api import Api
from tests.service.client.commands import Pace


async def test_a_key_is_made_listed_rotated_and_revoked(pace: Pace, api: Api) -> None:
    assert (await pace("project", "create", "vision")).code == 0
    made = await pace("key", "create", "grace", "--project", "vision", "--expires", "30d")
    assert made.code == 0, made.err
    first, secret = made.out.split()[0], made.out.splitlines()[1].split()[0]
    assert (await api.call("GET", "/v1/jobs", key=secret)).status_code == 200
    listed = (await pace("key", "list", "--owner", "grace")).out
    assert first in listed
    assert "vision" in listed
    assert secret not in listed
    assert "revoked" not in listed, "a column that is empty in every row"
    rotated = await pace("key", "rotate", first, "--overlap", "12h")
    second = rotated.out.split()[0]
    assert f"{first} works for 12h more" in rotated.out
    assert (await pace("key", "revoke", first, second)).out == f"{first}  revoked\n{second}  revoked\n"
    assert (await api.call("GET", "/v1/jobs", key=secret)).status_code == 401
    assert "key.rotate" in (await pace("audit", "--action", "key")).out


async def test_keys_projects_and_the_audit_come_as_json_and_csv(pace: Pace, api: Api) -> None:
    made = (await pace("key", "create", "grace h.", "--owner", "grace@home")).out.split()[0]
    for command, column, value in (
        ("key list", "id", made),
        ("project list", "name", "default"),
        ("audit --action key.create", "target", made),
    ):
        as_json = json.loads((await pace(*command.split(), "--json")).out)
        as_csv = list(csv.DictReader(io.StringIO((await pace(*command.split(), "--csv")).out)))
        assert value in [record[column] for record in as_json], command
        assert [record[column] for record in as_csv] == [record[column] for record in as_json]
        assert list(as_csv[0]) == list(as_json[0])
    assert (await pace("audit", "--json", "--csv")).code == 2


async def test_odd_words_are_told_with_the_cure(pace: Pace) -> None:
    for arguments, said in (
        (("key", "create", "x", "--expires", "soon"), "30d"),
        (("key", "create", "x", "--project", "nowhere"), "pace project create nowhere"),
        (("key", "create", 'grace, "the admiral"'), "name: String should match pattern"),
        (("key", "create", "a\nb"), "name: "),
        (("project", "create", "x" * 300), "name: "),
        (("key", "revoke"), "--owner"),
        (("key", "revoke", "key_none"), "no key"),
    ):
        answer = await pace(*arguments)
        assert answer.code != 0
        assert said in answer.told, arguments


async def test_on_this_machine_the_admin_s_key_is_found_beside_the_one_to_hand_over(
    nowhere: Pace, api: Api, base_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet_api: None
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "client.json").write_text(json.dumps({"url": base_url, "key": api.keys.user}))
    assert "admin" in (await nowhere("key", "create", "x")).told
    (state / "keys.json").write_text(json.dumps({"admin": api.keys.admin}))
    assert (await nowhere("key", "create", "x")).code == 0
    assert (await nowhere("jobs")).code == 0
