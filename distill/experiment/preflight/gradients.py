"""The share of each term of the loss in the student's gradient."""

from distill.experiment.preflight.findings import Findings
from distill.experiment.preflight.step import Step
from distill.experiment.preflight.tapped import members_of
from distill.experiment.run import Run
from distill.methods import Method

UNBALANCED = 100.0  # a term that pulls so many times as hard as another leaves it no say


def say_gradients(run: Run, step: Step, method: Method, *, telling: bool, apart: bool, findings: Findings) -> None:
    """Say what share of the student's gradient each term has; warn of terms that are not finite, idle or far apart.

    telling: whether the gradients are like those in training; an untrained teacher's say nothing about those.
    apart: whether the teacher differs from the student; gradients towards oneself are zero.
    """
    settings = {term: _setting(run, method, term) for term in step.pulls}
    wild = [term for term, pull in step.pulls.items() if pull != pull or pull == float("inf")]
    for term in wild:
        advice = f"lower {settings[term]}, or use trainer.precision=32-true"
        findings.warnings.append(f"the gradient of {term} is not finite: {advice}")
    for term in step.idle if apart else ():
        findings.warnings.append(f"{term} has no gradient and teaches nothing: check {settings[term]}")
    pulls = {term: pull for term, pull in step.pulls.items() if pull > 0 and term not in wild}
    if not telling:
        findings.say("gradients", f"of {', '.join(step.pulls)}: shares are unknown until their teacher is trained")
        return
    total = sum(pulls.values())
    shares = [f"{term} {pull / total:.1%}" for term, pull in pulls.items()]
    findings.say("gradients", f"at the student: {', '.join(shares) or 'none'}")
    strong, weak = max(pulls, key=pulls.__getitem__, default=""), min(pulls, key=pulls.__getitem__, default="")
    if pulls and pulls[strong] > UNBALANCED * pulls[weak]:
        findings.warnings.append(
            f"{strong} pulls {pulls[strong] / pulls[weak]:,.0f} times as hard at the student as {weak}: "
            f"lower {settings[strong]}, or raise {settings[weak]}"
        )


def _setting(run: Run, method: Method, term: str) -> str:
    """The setting that a term's size depends on."""
    key = "label_weight" if term == "ce" else "weight"
    names = [name for name in members_of(run, method) if key in run.config.method[name]]
    named = [name for name in names if name == term] or names
    return " or ".join(f"method.{name}.{key}" for name in named) or "the weights in method"
