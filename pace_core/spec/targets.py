"""The linear layers of a block that a method's `targets` name; networks call their projections differently."""

FUSED = ("attn.qkv", ".qkv_proj", ".Wqkv")
"""Endings of the layers that compute q, k and v at once, in this order of rows."""
_QUERY_VALUE = ("self.query", ".q_proj", ".q_lin", "self.value", ".v_proj", ".v_lin")
_KEY = ("self.key", ".k_proj", ".k_lin")


def is_target(name: str, targets: str) -> bool:
    """Tells whether `all`, `qkv` or `q,v` includes this layer of a block; a fused qkv layer counts for both."""
    if targets == "all":
        return True
    return name.endswith((*FUSED, *_QUERY_VALUE, *(_KEY if targets == "qkv" else ())))
