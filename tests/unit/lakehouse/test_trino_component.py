"""How Trino is started from the files of ``infra/trino``, and what those files need."""

import hashlib
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lakehouse.components import NOT_ANSWERING, READY
from lakehouse.infra import infra_file
from lakehouse.java import Java
from lakehouse.stack import trino
from lakehouse.stack.certificates import Authority
from lakehouse.stack.trino import TrinoInputs

FOLDER = infra_file("trino/config.properties").parent
PROPERTIES = sorted(FOLDER.rglob("*.properties"))
SECRETS = {
    "truststore_password": 'the "password"',
    "internal_secret": "between processes",
    "catalog_password": "of the catalog",
    "s3_secret_key": "of the store",
}
VARIABLE = re.compile(r"\$\{ENV:([A-Z0-9_]+)\}")


@pytest.fixture
def inputs(tmp_path: Path) -> TrinoInputs:
    return TrinoInputs(
        home=tmp_path / "a home",
        distribution=tmp_path / "trino-server",
        port=1,
        certificate=tmp_path / "trino.pem",
        ca_file=infra_file("trino/config.properties"),
        truststore=tmp_path / "ca.p12",
        passwords={"analyst": "of an analyst", "serving": "of serving"},
        catalog_url="jdbc:postgresql://localhost:5432/iceberg",
        catalog_user="iceberg",
        warehouse="s3://lake/warehouse",
        s3_endpoint="https://localhost:9000",
        s3_access_key="serving",
        **SECRETS,
    )


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Java:
    found = Java(tmp_path / "jdk", 25)
    monkeypatch.setattr(trino, "find_java", lambda *, oldest: found if oldest == 24 else None)
    return found


def lines(file: Path) -> list[str]:
    stripped = (line.strip() for line in file.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


@pytest.mark.parametrize("file", PROPERTIES, ids=lambda file: file.name)
def test_every_property_is_stated_once(file: Path) -> None:
    names = [line.partition("=")[0] for line in lines(file)]
    assert names
    assert all("=" in line for line in lines(file))
    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.name)
def test_rules_are_json(file: Path) -> None:
    assert json.loads(file.read_text())


def test_the_files_name_exactly_the_variables_that_the_starter_gives(inputs: TrinoInputs) -> None:
    # Comments name no variable, so that this counts what Trino reads.
    named = {name for file in PROPERTIES for line in lines(file) for name in VARIABLE.findall(line)}
    assert named == trino.environ(inputs).keys()


def test_no_file_holds_an_address_or_a_secret() -> None:
    for file in PROPERTIES:
        for line in lines(file):
            name, _, value = line.partition("=")
            if re.search(r"password$|secret|(access|secret)-key|\.port|(endpoint|-url|uri)$", name):
                assert VARIABLE.search(value), f"{file.name}: {line}"


def test_nothing_is_served_without_tls_and_a_password() -> None:
    stated = dict(line.split("=", 1) for line in lines(FOLDER / "config.properties"))
    assert stated["http-server.http.enabled"] == "false"
    assert stated["http-server.https.enabled"] == "true"
    assert stated["http-server.authentication.type"] == "PASSWORD"
    assert stated["internal-communication.https.required"] == "true"


def test_a_start_reads_the_files_as_they_are(inputs: TrinoInputs, java: Java) -> None:
    launch = trino.launch(inputs)
    folder = inputs.home / "trino"
    assert (folder / "etc").readlink() == FOLDER
    assert sorted(link.name for link in (folder / "plugins").iterdir()) == sorted(trino.PLUGINS)
    assert launch.argv[3:5] == [str(folder), str(java.executable)]
    assert launch.argv[5:7] == ["@etc/jvm.config", "@jvm.options"]
    own = (folder / "jvm.options").read_text().splitlines()
    assert sum("-Xmx" in line for line in (*own, *lines(FOLDER / "jvm.config"))) == 1
    assert '"-Dnode.environment=lakehouse"' in own
    # Quoted as the launcher of Java wants it.
    assert r'"-Djavax.net.ssl.trustStorePassword=the \"password\""' in own
    assert launch.port == 1


def test_no_secret_is_an_argument_and_no_file_with_one_is_for_others(
    inputs: TrinoInputs, java: Java
) -> None:
    shown = " ".join(trino.launch(inputs).argv) + repr(inputs)
    for secret in (*inputs.passwords.values(), *SECRETS.values()):
        assert secret not in shown
    for name in ("passwords", "jvm.options"):
        assert (inputs.home / "trino" / name).stat().st_mode & 0o777 == 0o600


def test_a_second_start_repairs_what_has_moved(inputs: TrinoInputs, java: Java) -> None:
    trino.launch(inputs)
    etc = inputs.home / "trino" / "etc"
    etc.unlink()
    etc.symlink_to("/elsewhere")
    trino.launch(inputs)
    assert etc.readlink() == FOLDER


def test_passwords_are_hashed_as_trino_checks_them(inputs: TrinoInputs, java: Java) -> None:
    trino.launch(inputs)
    for line in (inputs.home / "trino" / "passwords").read_text().splitlines():
        user, iterations, salt, hashed = line.split(":")
        password = inputs.passwords[user].encode()
        again = hashlib.pbkdf2_hmac("sha1", password, bytes.fromhex(salt), int(iterations))
        assert again.hex() == hashed
        assert len(salt) == 32


@pytest.fixture
def serve(tmp_path: Path, inputs: TrinoInputs) -> Iterator[Callable[[object], TrinoInputs]]:
    """Serve an answer to every GET over TLS, as a server of the installation does."""
    authority = Authority(tmp_path)
    answer: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer[0])

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate("trino").both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def serve(said: object) -> TrinoInputs:
        answer[:] = [json.dumps(said).encode()]
        return replace(inputs, port=server.server_port, ca_file=authority.file)

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()


def test_trino_is_ready_when_it_says_that_it_is_not_starting(serve: Any) -> None:
    assert trino.health(serve({"starting": True})) == "starting"
    assert trino.health(serve({"starting": False})) == READY


def test_whoever_else_answers_is_not_trino(serve: Any, tmp_path: Path) -> None:
    assert trino.health(serve("hello")) == NOT_ANSWERING
    impostor = replace(serve({"starting": False}), ca_file=Authority(tmp_path / "other").file)
    assert trino.health(impostor) == NOT_ANSWERING


def test_what_does_not_listen_is_not_answering(inputs: TrinoInputs, tmp_path: Path) -> None:
    nobody = replace(inputs, ca_file=Authority(tmp_path).file)
    assert trino.health(nobody) == NOT_ANSWERING


def test_the_component_comes_after_what_it_reads(inputs: TrinoInputs) -> None:
    component = trino.component(lambda: inputs, after=("postgresql", "minio"))
    assert component.name == "trino"
    assert component.after == ("postgresql", "minio")
    assert component.deadline_seconds == 180
