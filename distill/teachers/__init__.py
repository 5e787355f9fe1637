"""Where the teacher's answers come from."""

from distill.teachers.base import Teacher
from distill.teachers.cached import CachedTeacher
from distill.teachers.lesson import Lesson
from distill.teachers.live import LiveTeacher

__all__ = ["CachedTeacher", "Lesson", "LiveTeacher", "Teacher"]
