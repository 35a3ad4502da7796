"""Did a mitigation work: what is registered before the data, three designs, displacement and benign cost."""
