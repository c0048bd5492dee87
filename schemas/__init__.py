"""What travels on the bus: records, columns and topics. Pure: no I/O, no Kafka, no torch."""
