"""Where the teacher's answers come from."""

from distill.teachers.base import Teacher
from distill.teachers.live import LiveTeacher

__all__ = ["LiveTeacher", "Teacher"]
