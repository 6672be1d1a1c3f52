"""A bucket on a real S3 server, read by another client."""

from __future__ import annotations

from typing import Any

BUCKET = "images"
CONN = "images_s3"


class Bucket:
    """Reads the bucket with boto3, which the package does not use."""

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
        """Return every key, temporary ones too, with its time of writing."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: item["LastModified"] for item in listed}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def writes(self) -> int:
        """Return the number of versions ever written, because the bucket keeps all of them."""
        return len(self.client.list_object_versions(Bucket=BUCKET).get("Versions", []))
