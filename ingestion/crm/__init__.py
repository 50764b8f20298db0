"""The CRM: captured changes of customers, whose personal fields are encrypted before they leave."""
