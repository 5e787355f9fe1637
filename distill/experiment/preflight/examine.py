"""A rehearsal on networks of its own: what a run will find, said before it starts."""

import copy
import gc
import logging
import math
import time
import traceback

import torch
from torch import Tensor

from distill.config import build
from distill.config.checking import located
from distill.config.trial_pass import first_inputs
from distill.data.order import Draw
from distill.data.split import Split
from distill.errors import SettingError, first_line
from distill.experiment.preflight.data import data_doubts, data_lines
from distill.experiment.preflight.drawn_batch import draw_batch
from distill.experiment.preflight.duration import in_words, seconds_an_epoch
from distill.experiment.preflight.findings import Findings
from distill.experiment.preflight.gradients import say_gradients
from distill.experiment.preflight.images import output_doubts, preparation_lines
from distill.experiment.preflight.memory import say_memory
from distill.experiment.preflight.monitors import check_monitors
from distill.experiment.preflight.networks import check_logits
from distill.experiment.preflight.outputs import check_ruled_out
from distill.experiment.preflight.rehearsal import rehearse
from distill.experiment.preflight.resident import resident
from distill.experiment.preflight.step import Step, measure
from distill.experiment.preflight.tapped import check_taps, members_of, tapped_lines
from distill.experiment.preflight.teacher import mass_kept, score_sample
from distill.experiment.run import Run
from distill.experiment.stage import GENTLE, Stage
from distill.log import account_of
from distill.methods import Method, Supervised
from distill.models import cost
from distill.models.checkpoint import load_weights
from distill.models.network import Network
from distill.report.table import short
from distill.seeding import seed_torch
from distill.teachers import Teacher
from distill.training.connect import tap
from distill.training.failing_setting import setting_at_work
from distill.training.module import DistillModule
from distill.training.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

QUICK = 2.0  # seconds: a whole batch that takes less is trained on; of others, the first samples
PROBE = 32  # samples of the one batch; a real one's memory is reckoned from it
MOST_MASS = 0.9  # of the teacher's, that the classes kept should hold (measured: benchmarks/top_k.md)


def examine(run: Run, networks: dict[str, Network]) -> Findings:
    """Look at the data, score the teacher, take one step apart and reckon the memory; print what was found.

    Nothing of it is felt by the run: random generators are put back, and the networks are not the run's.

    Args:
        run: settings and data.
        networks: spare ones, as `check_networks` gives them; spoilt by this.

    Raises:
        SettingError: a layer to tap doesn't exist, or a training step fails.
    """
    started, before = time.perf_counter(), resident()
    findings, device = Findings(), run.hardware.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for about, text in data_lines(run.source, len(run.samples)):
            findings.say(about, text)
        findings.warnings += data_doubts(run.source)
        draw_batch(run)
        logits = _teacher(run, networks["teacher"], device, findings)
        knows = logits is not None or not networks["teacher"].comparable
        findings.say("student", _name(networks["student"]))
        findings.warnings += output_doubts(run, networks)
        steps = {} if knows else {"teacher": _step(run, "teacher", networks["teacher"], None, Supervised(), findings)}
        for name in run.assistants:  # without those who teach them: their time is a little more
            _step(run, name, networks[name], None, Supervised(), findings)
        last = networks[["teacher", *run.assistants][-1]]
        seed_torch(run.config.run.seed, "method", "weights")
        method = build.method(run.config.method)
        teacher = run.teacher(last) if method.needs_teacher else None
        apart = teacher is None or teacher.network is last  # or else it comes out of the student, and is still the same
        if teacher is not None:
            teacher.begin(networks["student"])  # before the student is tapped: a copy of it must not share its taps
        check_taps(run, networks["student"], teacher, method)
        steps["student"] = _step(run, "student", networks["student"], teacher, method, findings)
        if teacher is not None and teacher.form and knows and not run.assistants:
            findings.say("answers", teacher.form)
        if logits is not None and not run.assistants:
            _top_k(run, method, logits, findings)
        if logits is not None:
            check_ruled_out(logits, steps["student"].pulls, members_of(run, method))
        telling = teacher is None or (apart and knows and not run.assistants)
        say_gradients(run, steps["student"], method, telling=telling, apart=apart, findings=findings)
        if run.config.run.baseline:
            _step(run, "baseline", networks["student"], None, Supervised(), findings)
        say_memory(run, {name: step.memory for name, step in steps.items()}, device, before, findings)
        answering = None if teacher is None else (last if apart else networks["student"])
        for text in tapped_lines(members_of(run, method), networks["student"], answering, first_inputs(run.source)):
            findings.say("layers", text)
        for about, text in preparation_lines(networks, run.source):
            findings.say(about, text)
        findings.say("time", in_words(findings.seconds))
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    log.info(f"preflight took {time.perf_counter() - started:.1f} s")
    findings.show(run.directory)
    return findings


def print_tapped_layers(run: Run, networks: dict[str, Network]) -> None:
    """Without a rehearsal: say which layers the student's method taps, unless an attempt before this one said more.

    networks: as for `examine`; they are tapped by this, and not trained.

    Raises:
        SettingError: a layer to tap doesn't exist.
    """
    findings, student = Findings(), networks["student"]
    method = build.method(run.config.method)
    members = members_of(run, method)
    if account_of(run.directory) or not (method.needs_teacher and any(m.taps.student for m in members.values())):
        return
    teacher, inputs = run.teacher(networks[["teacher", *run.assistants][-1]]), first_inputs(run.source)
    teacher.begin(student)  # before the student is tapped: a copy of it must not share its taps
    check_taps(run, student, teacher, method)
    for name, member in members.items():
        try:
            tap(member, student, teacher, inputs)
        except SettingError as error:
            raise SettingError(located(f"method.{name}", error)) from error
    for text in tapped_lines(members, student, teacher.network, inputs):
        findings.say("layers", text)
    findings.show(run.directory)


def _teacher(run: Run, network: Network, device: torch.device, findings: Findings) -> Tensor | None:
    """Say what the teacher is worth. Its logits of a few images, (n, classes); None before it is trained."""
    own = run.stage("teacher")
    if not network.trained:
        if not own.weights.is_file():
            _to_train(own, network, device, findings)
            return None
        load_weights(network.backbone, own.weights)
    if not network.comparable:
        findings.say("teacher", f"{_name(network)}: has other classes than the data; its features alone are of use")
        return None
    found, logits = score_sample(network, own.data(), device)
    check_logits(logits, "teacher", network.name)
    findings.say("teacher", f"{_name(network)}: scores {found}")
    if not found.convincing:
        settings = "teacher.mean, teacher.std and teacher.size, the order of the classes, and teacher.checkpoint"
        untrained = "; teacher.train=true trains it first" if network.provenance else ""
        findings.warnings.append(f"teacher scores {found}: check {settings}{untrained}")
    return logits


def _to_train(stage: Stage, network: Network, device: torch.device, findings: Findings) -> None:
    """Say how the teacher will be trained; warn where it has no need of it, and would lose what it knows."""
    recipe = stage.recipe(network)
    epochs = f"{stage.max_epochs} epoch{'s' if stage.max_epochs > 1 else ''}"
    how = "fine-tuned" if network.pretrained else "trained"
    rate = "" if recipe.rate is None or not network.pretrained else f" at lr={recipe.rate:g}"
    findings.say(
        "teacher", f"{_name(network)}: {how} first, for {epochs}{rate}{f' ({GENTLE})' if recipe.gentle else ''}"
    )
    if network.pretrained:
        return
    found, _ = score_sample(network, stage.data(), device)
    if found.convincing and found.score > (1 + found.chance) / 2:  # random weights may be lucky, but not so lucky
        findings.warnings.append(
            f"teacher: scores {found.score:.1%} before any training, so its weights are trained already, and "
            f"optimizer.lr={recipe.rate} may lose what it knows: teacher.train=false uses it as it is, "
            "teacher.optimizer.lr=1e-4 fine-tunes it"
        )


def _top_k(run: Run, method: Method, logits: Tensor, findings: Findings) -> None:
    """Where the likeliest classes are kept alone: how much of what the teacher says they hold."""
    k = run.config.teaching.target.get("top_k")
    for name, member in members_of(run, method).items() if k is not None else ():
        temperature = float(getattr(member, "temperature", 1.0))
        mass = mass_kept(logits, k, temperature)
        held = f"hold {mass:.0%} of the teacher's mass at temperature {temperature:g}"
        findings.say("answers", f"the {k} likeliest of {logits.shape[1]} classes {held} ({name})")
        if mass < MOST_MASS:
            findings.warnings.append(
                f"teaching.top_k={k}: the classes kept {held}, and a student misses what the teacher says of the "
                f"others: lower method.{name}.temperature, keep more classes, or keep all with teaching.dtype=float16"
            )


def _step(
    run: Run,
    name: str,
    network: Network,
    teacher: Teacher | None,
    method: Method,
    findings: Findings,
) -> Step:
    """One step of a stage on the first samples that it will see: taken apart, then taken as the run does."""
    stage, hardware = run.stage(name), run.hardware
    try:
        module: DistillModule = stage.module(network, teacher, method)
        data = stage.data()
        loader, scoring = data.train_dataloader(), data.val_dataloader()
        epoch, indices = next(iter(loader.order))
        started = time.perf_counter()
        batch = loader.__getitems__(Draw(epoch, indices[:PROBE]))
        loading = (time.perf_counter() - started) / len(batch)
        images = sum(split.images.nbytes for split in (run.source.train, run.source.val) if isinstance(split, Split))
        step = measure(module, batch, len(indices), images, hardware)
        quick = (time.perf_counter() - started) * len(indices) / len(batch) < QUICK
        if quick:
            batch = loader.__getitems__(Draw(epoch, indices))
        scored = scoring.__getitems__(Draw(0, torch.arange(min(PROBE, len(scoring.split)))))
        before = copy.deepcopy(network.state_dict())
        pace = rehearse(module, batch, scored, run.config.trainer, hardware.device, steps=5 if quick else 2)
        network.load_state_dict(before)  # for what it teaches next
        if pace.trouble is not None and all(map(math.isfinite, step.pulls.values())):
            findings.warnings.append(f"{name}: in the rehearsal, {pace.trouble}")
        findings.seconds[name] = stage.max_epochs * seconds_an_epoch(
            loader,
            scoring,
            batch=pace.batch * len(indices) / len(batch),
            image=pace.validation / len(scored),
            loading=loading * len(indices),
            processes=hardware.world_size,
            every=run.config.trainer.own.check_val_every_n_epoch or 1,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        place = setting_at_work(error, run.config.trainer.own.gradient_clip_val) or _place(run, name, method, error)
        if isinstance(error, ValueError):
            raise SettingError(located(place, error)) from error
        raise SettingError(
            f"{place}: a training step fails: {first_line(error)} (HYDRA_FULL_ERROR=1 shows where)"
        ) from error
    if pace.logged:
        check_monitors(run.config.callbacks, name, pace.logged)
    return step


def _place(run: Run, stage: str, method: Method, error: BaseException) -> str:
    """The part of the configuration that an error came from: the method that was at work, else the network."""
    names = {id(member): f"method.{name}" for name, member in members_of(run, method).items()}
    at_work = (id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((names[part] for part in at_work if part in names), stage)


def _name(network: Network) -> str:
    return f"{network.name}, {short(cost.parameters(network))} parameters"
