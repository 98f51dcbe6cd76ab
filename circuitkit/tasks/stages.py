"""Names of the stages in which prompts are read."""

PROMPTS, TEACHER_PROMPTS, STUDENT_PROMPTS = "prompts", "teacher prompts", "student prompts"
READING = frozenset({PROMPTS, TEACHER_PROMPTS, STUDENT_PROMPTS})
"""Stages that come before anything is measured."""
