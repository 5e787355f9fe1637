"""Bad input gets one clear message that names the argument, what it was, and what would work."""

import pytest
import torch
import torch.nn.functional as F

import distill.losses as losses

S = torch.zeros(2, 5)
HALVES = torch.full((2, 5), 0.5)


@pytest.mark.parametrize(
    ("student", "teacher", "options", "error", "says"),
    [
        (S, torch.zeros(2, 4), {}, ValueError, r"student_logits .*\(2, 5\) .*teacher \(2, 4\).*classes"),
        (S.long(), S, {}, TypeError, r"student_logits .*int64.*\.float\(\)"),
        (S, S.int(), {}, TypeError, r"teacher .*int32"),
        (S, None, {}, TypeError, r"teacher is a NoneType.*Tensor"),
        (S[0], S[0], {}, ValueError, r"class_dim=1 .*\(5,\).*\(N, C\)"),
        (S, S, {"class_dim": 2}, ValueError, r"class_dim=2 "),
        (S, S, {"temperature": 0}, ValueError, r"temperature=0 .*> 0"),
        (S, S, {"temperature": -1.0}, ValueError, r"temperature=-1\.0 .*> 0"),
        (S, S, {"temperature": float("nan")}, ValueError, r"temperature=nan"),
        (S, S, {"temperature": "4"}, TypeError, r"temperature is a str.*number"),
        (S, S, {"temperature": True}, TypeError, r"temperature is a bool"),
        (S, S, {"temperature": torch.tensor(3)}, TypeError, r"temperature .*int64"),
        (S, S, {"temperature": torch.tensor([1.0, -2.0])}, ValueError, r"temperature holds -2"),
        (S, S, {"temperature": torch.ones(3)}, ValueError, r"temperature has shape \(3,\).*\(2,\)"),
        (S, S, {"reduction": "average"}, ValueError, r"reduction='average'.*'batchmean'.*'positionmean'"),
        (S, S, {"teacher_is": "softmax"}, ValueError, r"teacher_is='softmax'.*'probabilities'"),
        (S, S, {"mask": torch.ones(2)}, TypeError, r"mask has dtype torch\.float32.*bool"),
        (S, S, {"mask": torch.ones(2, 5, dtype=torch.bool)}, ValueError, r"mask has shape \(2, 5\).*\(2,\)"),
        (S, S, {"weights": torch.ones(5)}, ValueError, r"weights has shape \(5,\).*\(2,\)"),
        (S, S, {"weights": torch.tensor([1.0, -1.0]), "validate": True}, ValueError, r"weights holds -1.*>= 0"),
        (S, S, {"labels": torch.zeros(3, dtype=torch.long)}, ValueError, r"labels has shape \(3,\)"),
        (S, HALVES, {"teacher_is": "probabilities", "validate": True}, ValueError, r"off by 1\.5 from 1.*'logits'"),
        (
            S,
            HALVES,
            {"teacher_is": "log_probabilities", "validate": True},
            ValueError,
            r"log_probabilities along",
        ),
        (S, S, {"tau": 1}, TypeError, r"tau"),
    ],
)
def test_what_is_said(student, teacher, options, error, says):
    with pytest.raises(error, match=says):
        losses.kl_divergence(student, teacher, **options)


def test_probabilities_pass_the_check_in_every_dtype():
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        p = F.softmax(torch.randn(4, 5000), 1).to(dtype)
        losses.kl_divergence(torch.zeros(4, 5000), p, teacher_is="probabilities", validate=True)
    p[1] = 7
    keep = torch.tensor([True, False, True, True])
    losses.kl_divergence(torch.zeros(4, 5000), p, teacher_is="probabilities", validate=True, mask=keep)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: losses.js_divergence(S, S, beta=0.0), r"beta=0\.0 .*kl_divergence"),
        (lambda: losses.js_divergence(S, S, beta=1.0), r"beta=1\.0 .*reverse_kl_divergence"),
        (lambda: losses.skew_kl_divergence(S, S, alpha=1.0), r"alpha=1\.0 .*between 0 and 1"),
        (lambda: losses.skew_reverse_kl_divergence(S, S, alpha=-0.1), r"alpha=-0\.1 "),
        (lambda: losses.alpha_beta_divergence(S, S, alpha=1.0, beta=0.0), r"alpha=1\.0, beta=0\.0.*kl_divergence"),
        (lambda: losses.alpha_beta_divergence(S, S, alpha=1.0, beta=-1.0), r"nor their sum"),
    ],
)
def test_parameters_out_of_range(call, says):
    with pytest.raises(ValueError, match=says):
        call()
