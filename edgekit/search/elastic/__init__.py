"""Any torch module as a search space: what can become narrower, what can be left out."""
