"""A bucket on a real S3 server, as another client sees it."""

from __future__ import annotations

from typing import Any

BUCKET = "pictures"
CONN = "pictures_s3"


class Bucket:
    """The bucket as another client sees it: boto3, which the package does not use."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def objects(self) -> dict[str, Any]:
        """Every key with its time of writing, temporary ones too."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: item["LastModified"] for item in listed}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def writes(self) -> int:
        """How many versions were ever written: the bucket keeps them all."""
        return len(self.client.list_object_versions(Bucket=BUCKET).get("Versions", []))
