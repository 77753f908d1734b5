"""What actors keep of their node's environment."""

import fsspec
import pytest

from worker.environment import strip


def test_keys_tokens_and_passwords_are_gone_and_what_ray_and_torch_need_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec.config, "conf", {})
    needed = {"PATH": "/bin", "HOME": "/home/x", "RAY_AUTH_MODE": "token", "CUDA_VISIBLE_DEVICES": "0", "LC_ALL": "C"}
    needed["PACE_DATA"] = "vtab-1k=/data/vtab-1k"
    secret = {
        name: "s3cr3t"
        for name in (
            *("PACE_API_KEY", "PACE_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN"),
            *("GITHUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN", "DATABASE_URL", "SOME_PASSWORD"),
        )
    }
    environment = needed | secret
    strip(environment)
    assert environment == needed


def test_an_s3_storage_is_still_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec.config, "conf", {})
    strip({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "http://minio:9000"})
    assert fsspec.config.conf["s3"] == {"key": "id", "secret": "secret", "endpoint_url": "http://minio:9000"}
