"""`azr export --push`: the hub's own client uploads to a hub on this machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pyarrow.parquet
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, constants

from azr.errors import UserError
from azr.export.command import Request, export
from tests.export.fake_hub import Repo, fake_hub
from tests.export.test_model import trained_run
from tests.played import play
from tests.selfplay.test_selfplay import script

# From the hub's client, as it sends a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("trained"), rank=0)[0]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("played"), script, 1)[0].path


@pytest.fixture
def hub(monkeypatch):
    with fake_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield server


def test_a_model_arrives_whole_in_a_private_repository(trained, hub, tmp_path, capsys):
    export(Request(trained, to=tmp_path / "out", push="me/tiny"))
    repo = hub.repos["model", "me/tiny"]
    assert repo.private
    assert repo.files == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert repo.files["model.safetensors"] in hub.objects.values()
    assert [line.split(" (azr")[0] for line in repo.commits] == ["Model after step 3"]
    assert capsys.readouterr().out == f"model after step 3: {hub.url}/me/tiny (private)\n"


def test_a_name_without_an_owner_is_ones_own(trained, hub):
    export(Request(trained, push="tiny"))
    card = hub.repos["model", "me/tiny"].files["README.md"].decode()
    assert 'from_pretrained("me/tiny")' in card


def test_a_dataset_arrives_with_a_card_that_names_it(played, hub, tmp_path):
    export(Request(played, dataset=tmp_path / "out", push="me/plays"))
    files = hub.repos["dataset", "me/plays"].files
    assert files.keys() == {"README.md", *(f"{part}/train-00000-of-00001.parquet" for part in ("tasks", "rollouts"))}
    assert pyarrow.parquet.read_table(io.BytesIO(files["tasks/train-00000-of-00001.parquet"])).num_rows > 0
    card = DatasetCard(files["README.md"].decode())
    assert 'load_dataset("me/plays", "tasks"' in card.text
    assert {one["config_name"] for one in card.data.to_dict()["configs"]} == {"tasks", "rollouts"}


def test_public_has_to_be_asked_for(trained, hub):
    export(Request(trained, push="me/tiny", public=True))
    assert not hub.repos["model", "me/tiny"].private


def test_a_public_repository_gets_nothing_without_public(trained, hub):
    hub.repos["model", "me/tiny"] = Repo(private=False)
    with pytest.raises(UserError, match="me/tiny is public already; add --public"):
        export(Request(trained, push="me/tiny"))
    assert hub.repos["model", "me/tiny"].commits == []


def test_a_second_push_replaces_the_files(trained, hub):
    export(Request(trained, push="me/tiny"))
    export(Request(trained, push="me/tiny"))
    assert len(hub.repos["model", "me/tiny"].commits) == 2


def test_a_dry_run_names_every_file_and_the_card_and_asks_nothing(trained, hub, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    export(Request(trained, to=tmp_path / "out", push="me/tiny", dry_run=True))
    said = capsys.readouterr().out
    assert "would be uploaded to the private model repository me/tiny" in said
    for name in ("README.md", "config.json", "model.safetensors"):
        assert f"  {name}\n" in said
    assert "library_name: transformers" in said
    assert hub.requests == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("push", ["a/b/c", "me/ti ny", "-", "me/" + "x" * 97])
def test_a_wrong_name_is_refused_before_anything_is_asked(trained, hub, push):
    with pytest.raises(UserError, match=r"^--push .*: not a valid name on the hub, which has the form owner/name"):
        export(Request(trained, push=push))
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "name", "said"),
    [
        (None, "me/tiny", "no token for the hub; log in with: hf auth login"),
        ("hf_old", "me/tiny", "the hub does not accept the token; log in again"),
        ("hf_other", "me/tiny", "the token may not write there"),
    ],
)
def test_without_the_right_to_write_there_is_one_line_and_no_export(
    trained, hub, monkeypatch, tmp_path, token, name, said
):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=said) as error:
        export(Request(trained, to=tmp_path / "out", push=name))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_somebody_elses_repository_is_refused(trained, hub):
    hub.repos["model", "other/tiny"] = Repo(private=False)
    with pytest.raises(UserError, match="the token may not write there"):
        export(Request(trained, push="other/tiny", public=True))


def test_a_hub_that_does_not_answer_is_named(trained, hub, monkeypatch):
    monkeypatch.setattr("azr.models.hub._PAUSES", ())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 does not answer; check the network"):
        export(Request(trained, push="me/tiny"))


@pytest.mark.parametrize("route", ["/preupload/main", "/batch", "/commit/main"])
def test_a_failure_on_the_way_is_one_line_and_commits_nothing(trained, hub, route, tmp_path):
    hub.broken = route
    with pytest.raises(
        UserError, match=r"status 501: .*a disk is full.*; the files are in .*: hf upload me/tiny"
    ) as error:
        export(Request(trained, to=tmp_path / "out", push="me/tiny"))
    assert "\n" not in str(error.value)
    assert hub.repos["model", "me/tiny"].commits == []


@pytest.mark.parametrize("option", ["public", "dry_run"])
def test_options_of_the_upload_need_one(trained, option):
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')} is for --push NAME"):
        export(Request(trained, **{option: True}))


def test_the_metadata_of_a_card_survives_the_hubs_own_reader(trained, hub):
    export(Request(trained, push="me/tiny"))
    card = ModelCard(hub.repos["model", "me/tiny"].files["README.md"].decode())
    header = yaml.safe_load(card.content.split("---\n", 2)[1])
    assert card.data.to_dict() == header
    assert header["library_name"] == "transformers"


@pytest.mark.slow
def test_the_command_uploads_to_the_hub_of_the_environment(trained, hub):
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_mine"}
    command = [sys.executable, "-m", "azr", "export", str(trained), "--push", "me/tiny"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"model after step 3: {hub.url}/me/tiny (private)\n"), (
        result.stderr
    )
    assert "model.safetensors" in hub.repos["model", "me/tiny"].files
