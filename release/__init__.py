"""Build and check a release: ``make build``. See RELEASING.md."""
