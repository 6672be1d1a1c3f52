"""The whole pipeline on one machine: a real Airflow, the example DAG, and an emulator in place of Segmind."""
