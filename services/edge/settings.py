"""The edge's settings: MUHGPT_EDGE_… in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.settings import Endpoints, HostPort, ProcessSettings

MIB = 1024 * 1024


class EdgeSettings(ProcessSettings):
    """Sizes in bytes, times in seconds. Addresses may be lists, separated by commas: replicas of that service."""

    model_config = SettingsConfigDict(env_prefix="MUHGPT_EDGE_", frozen=True, extra="forbid")

    listen: HostPort = Field("127.0.0.1:8000", description="host:port to serve HTTP on; port 0 takes a free one")
    workers: int = Field(1, ge=1, le=256, description="processes that share the port; one per core")
    address_file: Path | None = Field(None, description="file that gets the bound host:port once the edge serves")

    metrics_listen: HostPort | None = Field(
        "127.0.0.1:9090", description="host:port for Prometheus; the default becomes a free port where it is taken"
    )

    auth_address: Endpoints = Field(description="host:port or unix:/PATH of auth")
    quota_address: Endpoints = Field(description="host:port or unix:/PATH of quota")
    inference_address: Endpoints = Field(description="host:port or unix:/PATH of inference")
    resolve_interval: float = Field(5.0, ge=0.05, le=3600, description="between two looks at DNS for replicas")

    # At most what a message to inference can carry (peers/inference.py).
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024, le=60 * 1024 * 1024, description="larger requests get 413")
    max_header_bytes: int = Field(64 * 1024, ge=1024, le=1024 * 1024, description="larger headers get 431")
    request_timeout: float = Field(600.0, gt=0, le=86400, description="for a whole inference request")
    header_timeout: float = Field(10.0, gt=0, le=600, description="for a request's header to arrive")
    body_timeout: float = Field(30.0, gt=0, le=600, description="between two pieces of a request's body")
    upload_timeout: float = Field(300.0, gt=0, le=3600, description="for a request's whole body")
    write_timeout: float = Field(30.0, gt=0, le=3600, description="for a client that stops reading its answer")
    keepalive_timeout: float = Field(75.0, gt=0, le=3600, description="for an idle connection")
    heartbeat: float = Field(15.0, gt=0, le=600, description="a stream silent for so long gets a comment")
    cors_origins: str | None = Field(
        None, description="origins of the web pages that may read answers, separated by commas; * for every page"
    )
    cached_keys: int = Field(100_000, ge=1, le=10_000_000, description="keys that a worker need not ask auth about")
    max_unfinished_holds: int = Field(10_000, ge=1, le=1_000_000, description="answers and charges under way")
    trust_traceparent: bool = Field(False, description="whether a client's traceparent decides that it is sampled")
    reads_per_minute: int = Field(600, ge=1, description="usage and model reads per account and worker")

    # What clients may hold and spend, whatever they send (http/limits.py, docs/settings.md).
    held_body_bytes: int = Field(256 * MIB, ge=MIB, description="bodies of all requests under way")
    held_body_bytes_per_account: int = Field(64 * MIB, ge=MIB, description="the same of one account")
    max_connections: int = Field(4096, ge=1, le=1_000_000, description="open connections")
    max_connections_per_source: int = Field(256, ge=1, le=1_000_000, description="the same from one address")
    discarded_bytes_per_second: int = Field(
        32 * 1024 * 1024, ge=1024 * 1024, le=1024**4, description="read of requests that were answered while they came"
    )
    unauthorized_per_minute: int = Field(60, ge=1, le=1_000_000, description="401s for one source address")
    refused_cpu_seconds: float = Field(2.0, gt=0, le=3600, description="CPU of a sender's refused requests a minute")
    max_preparations_per_account: int = Field(3, ge=1, le=1024, description="prompts of an account prepared at once")
    max_parts: int = Field(4096, ge=1, le=1_000_000, description="content parts of one request")
    max_nesting: int = Field(64, ge=1, le=256, description="depth of JSON inside strings of a request")
    max_validation_errors: int = Field(5, ge=1, le=1000, description="findings collected about one request")
    parsers: int = Field(2, ge=1, le=64, description="processes that parse large bodies")
    parse_timeout: float = Field(10.0, gt=0, le=600, description="for one of them to parse one body")
    parser_memory_bytes: int = Field(
        256 * MIB,
        ge=128 * MIB,
        description="memory of one of them; eight times max_body_bytes is added to 96 MiB if more",
    )
    trusted_proxies: str | None = Field(
        None, description="addresses and networks of proxies that may name a request's source, separated by commas"
    )
    proxy_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for", description="the header in which they name it"
    )
    metrics_dir: Path | None = Field(
        None, description="where several workers keep their metrics; emptied at start; default: a temporary directory"
    )
