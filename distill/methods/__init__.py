"""What to imitate: one file a method."""

from distill.methods.ab import AB
from distill.methods.at import AT
from distill.methods.base import Composite, Example, Method, Taps
from distill.methods.cwd import CWD
from distill.methods.fitnet import FitNet
from distill.methods.fsp import FSP
from distill.methods.ft import FT
from distill.methods.kd import KD
from distill.methods.kdsvd import KDSVD
from distill.methods.mgd import MGD
from distill.methods.nst import NST
from distill.methods.ofd import OFD
from distill.methods.reviewkd import ReviewKD
from distill.methods.semckd import SemCKD
from distill.methods.simkd import SimKD
from distill.methods.srrl import SRRL
from distill.methods.supervised import Supervised
from distill.methods.vid import VID

__all__ = [
    "AB",
    "AT",
    "CWD",
    "FSP",
    "FT",
    "KD",
    "KDSVD",
    "MGD",
    "NST",
    "OFD",
    "SRRL",
    "VID",
    "Composite",
    "Example",
    "FitNet",
    "Method",
    "ReviewKD",
    "SemCKD",
    "SimKD",
    "Supervised",
    "Taps",
]
