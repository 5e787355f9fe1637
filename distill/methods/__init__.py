"""What to imitate: one file a method."""

from distill.methods.ab import AB
from distill.methods.alpha_beta import AlphaBeta
from distill.methods.at import AT
from distill.methods.base import Example, Method, Taps
from distill.methods.cc import CC
from distill.methods.cirkd import CIRKD
from distill.methods.composite import Composite
from distill.methods.crd import CRD
from distill.methods.ctkd import CTKD
from distill.methods.cwd import CWD
from distill.methods.cwd_logits import CWDLogits
from distill.methods.deit import DeiT
from distill.methods.dist import DIST
from distill.methods.dkd import DKD
from distill.methods.dml import DML
from distill.methods.fgd import FGD
from distill.methods.fitnet import FitNet
from distill.methods.fsp import FSP
from distill.methods.ft import FT
from distill.methods.hard_label import HardLabel
from distill.methods.hidden_cosine import HiddenCosine
from distill.methods.ickd import ICKD
from distill.methods.ifvd import IFVD
from distill.methods.jsd import JSD
from distill.methods.kd import KD
from distill.methods.kdsvd import KDSVD
from distill.methods.ld import LD
from distill.methods.logit_mse import LogitMSE
from distill.methods.mgd import MGD
from distill.methods.minilm import MiniLM
from distill.methods.mlkd import MLKD
from distill.methods.nkd import NKD
from distill.methods.nst import NST
from distill.methods.ofd import OFD
from distill.methods.pkd import PKD
from distill.methods.pkt import PKT
from distill.methods.reverse_kd import ReverseKD
from distill.methods.reviewkd import ReviewKD
from distill.methods.rkd import RKD
from distill.methods.semckd import SemCKD
from distill.methods.simkd import SimKD
from distill.methods.skd import SKD
from distill.methods.skew import Skew
from distill.methods.sp import SP
from distill.methods.srrl import SRRL
from distill.methods.supervised import Supervised
from distill.methods.symmetric import Symmetric
from distill.methods.tf_kd import TfKD
from distill.methods.tinybert import TinyBERT
from distill.methods.tvd import TVD
from distill.methods.vid import VID
from distill.methods.wsld import WSLD

__all__ = [
    "AB",
    "AT",
    "CC",
    "CIRKD",
    "CRD",
    "CTKD",
    "CWD",
    "DIST",
    "DKD",
    "DML",
    "FGD",
    "FSP",
    "FT",
    "ICKD",
    "IFVD",
    "JSD",
    "KD",
    "KDSVD",
    "LD",
    "MGD",
    "MLKD",
    "NKD",
    "NST",
    "OFD",
    "PKD",
    "PKT",
    "RKD",
    "SKD",
    "SP",
    "SRRL",
    "TVD",
    "VID",
    "WSLD",
    "AlphaBeta",
    "CWDLogits",
    "Composite",
    "DeiT",
    "Example",
    "FitNet",
    "HardLabel",
    "HiddenCosine",
    "LogitMSE",
    "Method",
    "MiniLM",
    "ReverseKD",
    "ReviewKD",
    "SemCKD",
    "SimKD",
    "Skew",
    "Supervised",
    "Symmetric",
    "Taps",
    "TfKD",
    "TinyBERT",
]
