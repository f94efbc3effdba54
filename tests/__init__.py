"""Tests. A package, so that tests in every folder can import tests.reference and tests.random_configs."""
