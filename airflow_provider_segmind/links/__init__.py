"""Links shown on a task instance."""
