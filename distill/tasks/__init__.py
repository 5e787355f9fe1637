"""What a sample's labels are, and all that follows from it: one file a task."""

from distill.methods.labels import UNKNOWN
from distill.tasks.base import Task
from distill.tasks.classification import Classification
from distill.tasks.detection import Detection
from distill.tasks.language_modelling import LanguageModelling
from distill.tasks.multilabel import MultiLabel
from distill.tasks.regression import Regression
from distill.tasks.segmentation import SemanticSegmentation

__all__ = [
    "UNKNOWN",
    "Classification",
    "Detection",
    "LanguageModelling",
    "MultiLabel",
    "Regression",
    "SemanticSegmentation",
    "Task",
]
