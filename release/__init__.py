"""What a release is made of and proved by: ``make build``. See RELEASING.md."""
