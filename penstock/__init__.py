"""Penstock: streaming inference on Apache Kafka.

The four packages live at the top of the repository, `schemas`, `models`, `monitoring` and `streams`; this one only
gives them their import name, through symbolic links here and as real folders in a wheel.
"""
