"""What scripts/deploy holds agrees with the service, and with itself."""

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml

from audiorec.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "scripts" / "deploy"
CONFIG = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
REPLICAS = ("audiorec-1", "audiorec-2")


def setting(name: str) -> Any:
    return Settings.model_fields[name].default


def directive(name: str) -> str:
    [value] = set(re.findall(rf"^\s*{name} (.+?);", CONFIG, re.MULTILINE))
    return value


def address(service: str) -> str:
    found: str = COMPOSE["services"][service]["networks"]["inside"]["ipv4_address"]
    return found


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    text = CONFIG.replace(" /tmp/", f" {tmp_path}/")
    for replica in REPLICAS:
        text = text.replace(f"{replica}:8000", "127.0.0.1:8000")
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_nginx_lets_the_service_refuse_what_is_a_little_too_large() -> None:
    limit_bytes = int(directive("client_max_body_size").removesuffix("m")) * 2**20
    assert setting("max_body_bytes") < limit_bytes <= 1.1 * setting("max_body_bytes")
    assert f"more than {limit_bytes // 2**20} MB, expected at most {setting('max_body_bytes') // 2**20}" in CONFIG


def test_nginx_closes_idle_connections_before_the_service_does() -> None:
    [upstream] = re.findall(r"upstream audiorec \{(.*?)\n    \}", CONFIG, re.DOTALL)
    [kept_s] = re.findall(r"keepalive_timeout (\d+)s;", upstream)
    assert int(kept_s) < uvicorn.Config("x").timeout_keep_alive


def test_nginx_waits_as_long_as_a_sound_may_take() -> None:
    assert int(directive("proxy_read_timeout").removesuffix("s")) > 2 * setting("decode_wall_s")


def test_only_questions_are_asked_again() -> None:
    """A POST that makes something may have made it before its connection broke."""
    from audiorec.api.routes import router

    [pattern] = re.findall(r"location ~ (\S+) \{[^}]*non_idempotent", CONFIG)
    assert CONFIG.count("non_idempotent") == 1
    posts = {route.path for route in router.routes if "POST" in (getattr(route, "methods", None) or ())}
    assert {path for path in posts if re.search(pattern, path)} == {"/nearest", "/nearest/batch", "/embed"}


@pytest.mark.parametrize("service", [*REPLICAS, "nginx"])
def test_containers_can_write_to_tmp_alone_and_have_no_rights(service: str) -> None:
    facts = COMPOSE["services"][service]
    assert facts["read_only"] is True
    assert facts["cap_drop"] == ["ALL"]
    assert facts["security_opt"] == ["no-new-privileges:true"]
    assert [place.partition(":")[0] for place in facts["tmpfs"]] == ["/tmp"]
    assert facts["mem_limit"]
    assert facts["healthcheck"]["test"]


def test_replicas_share_a_model_directory_that_they_cannot_change() -> None:
    [[first], [second]] = [COMPOSE["services"][name]["volumes"] for name in REPLICAS]
    assert first == second
    assert first["read_only"] is True
    assert first["target"] == "/model"
    assert '"serve", "/model"' in DOCKERFILE


def test_replicas_are_given_time_to_stop_and_believe_nginx_alone() -> None:
    for name in REPLICAS:
        facts = COMPOSE["services"][name]
        assert int(facts["stop_grace_period"].removesuffix("s")) > setting("stop_grace_s")
        assert facts["environment"]["AUDIOREC_TRUSTED_PROXIES"] == address("nginx")
        for variable, value in facts["environment"].items():
            assert Settings.load(model_dir="x", **{variable.removeprefix("AUDIOREC_").lower(): value})
    [network] = COMPOSE["networks"]["inside"]["ipam"]["config"]
    addresses = [address(name) for name in (*REPLICAS, "nginx")]
    assert len(set(addresses)) == 3
    assert all(ipaddress.ip_address(one) in ipaddress.ip_network(network["subnet"]) for one in addresses)


def test_nginx_names_the_replicas_and_the_port_that_compose_has() -> None:
    assert re.findall(r"server (\S+):8000 ", CONFIG) == list(REPLICAS)
    assert "EXPOSE 8000" in DOCKERFILE
    [port] = COMPOSE["services"]["nginx"]["ports"]
    assert port.rpartition(":")[2] == directive("listen")


def test_the_restart_takes_every_replica_in_turn() -> None:
    script = (DEPLOY / "rolling-restart").read_text(encoding="utf-8")
    assert f"for replica in {' '.join(REPLICAS)}; do" in script
    assert "--wait" in script
    assert subprocess.run(["bash", "-n", DEPLOY / "rolling-restart"]).returncode == 0


def test_the_image_has_a_user_a_health_check_and_no_code_for_this_machine_alone() -> None:
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert user == [re.findall(r"--uid (\d+)", DOCKERFILE)[0]]  # a number: Kubernetes asks whether it is 0
    assert "HEALTHCHECK" in DOCKERFILE
    assert "-march=native" not in DOCKERFILE
