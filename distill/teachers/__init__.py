"""Where the teacher's answers come from."""

from distill.teachers.base import Teacher
from distill.teachers.ema import EMATeacher
from distill.teachers.ensemble import EnsembleTeacher
from distill.teachers.live import LiveTeacher

__all__ = ["EMATeacher", "EnsembleTeacher", "LiveTeacher", "Teacher"]
