"""Environment of an actor: what it keeps of its node's, nothing secret."""

import os
from collections.abc import MutableMapping

import fsspec

_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_", "TZ", "TERM", "TMPDIR", "PWD", "HOSTNAME"),
    *("LD_", "DYLD_", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX", "XDG_", "SSL_CERT_", "REQUESTS_CA_BUNDLE"),
    *("RAY_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "NUMEXPR_"),
    *("TORCH_", "PYTORCH_", "TRITON_", "TIMM_", "HF_HOME", "HF_HUB_", "HF_ENDPOINT", "TRANSFORMERS_CACHE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_CONFIG_FILE"),
)
"""Names, or how names begin: what Ray, torch and hubs need. No password, key or token is among them."""
_KEPT_WHOLE = (
    "PACE_DATA",
    "PACE_CACHE_BYTES",
)  # where benchmarks lie, how much may be copied; how other names begin, which are secret
_DROPPED = ("RAY_AUTH_TOKEN", "HF_HUB_TOKEN")  # the secrets themselves; RAY_AUTH_TOKEN_PATH is only where one lies
_S3 = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_ENDPOINT_URL": "endpoint_url",
}


def strip(environment: MutableMapping[str, str] = os.environ) -> None:
    """Removes all but what is kept; credentials of an S3 storage go where fsspec alone looks for them."""
    s3 = {option: environment[name] for name, option in _S3.items() if name in environment}
    if s3:
        fsspec.config.conf.setdefault("s3", {}).update(s3)
    for name in list(environment):
        if name in _DROPPED or not (name in _KEPT_WHOLE or name.startswith(_KEPT)):
            del environment[name]
