"""Alerts: rules that keep a stated budget of false alarms, the policy's own rules, decisions about both, delivery."""
