"""Our clients' executions: a simulated order management system that trades on recorded markets."""
