"""Apache Airflow provider for Segmind's image upscalers."""

__version__ = "0.1.0"
