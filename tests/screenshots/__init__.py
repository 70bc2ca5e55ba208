"""The pictures of the dashboard in the README: ``python -m tests.screenshots`` draws them anew."""
