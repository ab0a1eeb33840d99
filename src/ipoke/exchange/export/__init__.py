"""Models for programs other than this one."""
