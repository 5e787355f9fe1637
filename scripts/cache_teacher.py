"""`python scripts/cache_teacher.py [OVERRIDES]`: fill a teacher's cache ahead of training. Also list, verify, prune."""

from distill.cli import cache_teacher

if __name__ == "__main__":
    cache_teacher()
