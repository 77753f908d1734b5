"""Addresses of data: one form each, and what lies below what."""

import pytest

from pace_core.urls import parse, split_roots


@pytest.mark.parametrize(
    ("text", "one_form"),
    [
        ("S3://bucket/data/", "s3://bucket/data"),
        ("https://Host.org:443/a/b.tar", "https://host.org/a/b.tar"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("http://[::1]:8000/x", "http://[::1]:8000/x"),
        ("memory://store", "memory://store"),
        ("s3://bucket/a b/%41.jpg", "s3://bucket/a b/%41.jpg"),
        ("file:///data/50%/x", "file:///data/50%/x"),
    ],
)
def test_an_address_has_one_form(text: str, one_form: str) -> None:
    assert parse(text).text == one_form


@pytest.mark.parametrize(
    "text",
    [
        "simplecache::s3://bucket/x",
        "zip://a.jpg::http://host/x.zip",
        "s3://bucket/x::file:///etc/passwd",
        "zip:///data/x.zip",
        "reference://x",
        "github://a:b@main/x",
        "ftp://host/x",
        "local:///etc",
        "http://user:password@host/x",
        "http://allowed.org@evil.org/x",
        "s3://key@bucket/x",
        "http://host/a/../b",
        "http://host/a/%2e%2E/b",
        "http://host/a%2f..%2fb",
        "http://host/a//b",
        "http://host/./b",
        "http://host/a\\b",
        "http://host\n/b",
        "http://ho st/b",
        "http:///b",
        "s3://",
        "http://host./x",
        "http://hößt/x",
        "http://host/x?token=secret",
        "http://host/x#part",
        "http://host:99999999/x",
        "file://host/x",
        "file:///a/../etc",
        "http://a/http://b/c",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "root", "below"),
    [
        ("s3://bucket/data/x", "s3://bucket/data", True),
        ("s3://bucket/data", "s3://bucket/data/", True),
        ("s3://bucket/database", "s3://bucket/data", False),
        ("s3://bucket2/data", "s3://bucket", False),
        ("http://host/data/x", "https://host/data", False),
        ("https://host:444/data", "https://host/data", False),
        ("https://host.evil.org/data", "https://host", False),
        ("https://HOST/data", "https://host", True),
        ("s3://bucket/DATA/x", "s3://bucket/data", False),
    ],
)
def test_below_means_by_whole_segments(text: str, root: str, below: bool) -> None:
    assert parse(text).below(parse(root)) == below


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("/data:~/more", ["/data", "~/more"]),
        ("/data:s3://bucket/x:/other", ["/data", "s3://bucket/x", "/other"]),
        ("https://host:8443/x:https://other", ["https://host:8443/x", "https://other"]),
        ("https://host:8443:/data", ["https://host:8443", "/data"]),
        ("memory://a:data::", ["memory://a", "data"]),
        ("", []),
    ],
)
def test_roots_are_told_apart_though_addresses_have_colons(text: str, roots: list[str]) -> None:
    assert split_roots(text) == roots
