"""Timings of jaxlearn beside other libraries, each at an accuracy that one external evaluator has measured."""
