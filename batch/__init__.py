"""The batch layer: bronze to silver to gold, published after an audit, and reconciliation."""
