"""Teachers: a live network, a cache of its outputs, an ensemble, a moving average."""

from distill.teachers.base import Teacher
from distill.teachers.cached import CachedTeacher
from distill.teachers.ema import EMATeacher
from distill.teachers.ensemble import EnsembleTeacher
from distill.teachers.inputs import TeacherInputs
from distill.teachers.live import LiveTeacher

__all__ = ["CachedTeacher", "EMATeacher", "EnsembleTeacher", "LiveTeacher", "Teacher", "TeacherInputs"]
