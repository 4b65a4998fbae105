from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import pytest

from app.playground.endpoint import Endpoint
from backends.ec2 import Driver
from tests.backends.cloud import ec2_settings, running_endpoint


@pytest.fixture(scope="package")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint("web-1") as started:
        yield started


@pytest.fixture(autouse=True)
def no_faults(endpoint: Endpoint) -> Iterator[None]:
    endpoint.faults_file.unlink(missing_ok=True)
    yield
    endpoint.faults_file.unlink(missing_ok=True)


@pytest.fixture
async def driver(endpoint: Endpoint) -> AsyncIterator[Driver]:
    opened = Driver("cloud", ec2_settings(endpoint))
    await opened.connect()
    yield opened
    await opened.close()


@pytest.fixture
def ec2(endpoint: Endpoint) -> Iterator[Any]:
    client = boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
    )
    yield client
    client.close()


@pytest.fixture
def ebs(endpoint: Endpoint) -> Iterator[Any]:
    client = boto3.client(
        "ebs",
        region_name="us-east-1",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
    )
    yield client
    client.close()


@pytest.fixture
def migration() -> str:
    return uuid.uuid4().hex[:12]
