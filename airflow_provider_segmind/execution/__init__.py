"""What a task does, as plain classes without Airflow's operators: the life of a request stands in ``engine.py``."""
