"""What tests share: models, graphs, plans, a clock."""
