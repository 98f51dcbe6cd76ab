"""The recipe of the six embedded models: corpus, tokenizers, teachers, students, evaluation, files."""
