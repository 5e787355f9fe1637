"""What holds for every file of configs/method/, whoever wrote the method."""

import copy
import dataclasses
import inspect
import re
import sys
from pathlib import Path

import hydra
import pytest
import torch
from method_cases import CLASSES, NETWORKS, WORDS, case, kind_of, labelled_otherwise
from method_files import FILES, FOLDER
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

import distill.methods
from distill.methods import Composite, DeiT, Method, Supervised, Taps
from distill.methods.labels import LabelLoss
from distill.methods.terms import LossTerms
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.types import Batch, Outputs

SWITCHES = ("standardize_logits", "schedules")  # settings of every method, which aren't arguments of any
# Differences of logits, and divergences that are infinite where the student's probability is above 0.
NO_CLASS_RULED_OUT = ("kd_standardized", "logit_mse", "srrl", "reverse_kd", "symmetric")


def node_of(file: Path) -> tuple[str, DictConfig]:
    """The file's one key, and what it sets."""
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    [(name, node)] = config.items()
    assert isinstance(node, DictConfig)
    return str(name), node


def build(file: Path) -> Method:
    """The method of a file, its switches set, and tapped as the networks below name their layers."""
    _, node = node_of(file)
    switches = {name: node.pop(name) for name in SWITCHES if name in node}
    method = hydra.utils.instantiate(node, _convert_="all")
    assert isinstance(method, Method)
    method.setup_student(Network(cnn(num_classes=CLASSES, width=2)))
    method.standardize_logits = switches.get("standardize_logits", False)
    for name, schedule in switches.get("schedules", {}).items():
        method.schedules[name] = hydra.utils.instantiate(schedule)
    method.taps = Taps(
        *(tuple(x for word in words for x in WORDS.get(word, (word,))) for words in dataclasses.astuple(method.taps))
    )
    if kind_of(method) == "masks":
        method.learn_labels_by(LabelLoss(ignore_index=255))
    return method


def evaluate(method: Method, student: Outputs, teacher: Outputs, batch: Batch, autocast: bool) -> dict[str, Tensor]:
    torch.manual_seed(1)  # of masks and negatives
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        terms: dict[str, Tensor] = method(student, teacher, batch)
    return terms


@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_gradients_reach_what_is_trained_and_nothing_else(file: Path, dtype: torch.dtype, networks: str) -> None:
    method = build(file)
    student, teacher, batch, example = case(networks, dtype, kind_of(method))
    method.setup(example)
    for parameter in method.parameters():
        if not parameter.any():  # a layer that starts at zero keeps gradients from those below
            nn.init.normal_(parameter, std=0.1)
    terms = evaluate(method, student, teacher, batch, autocast=dtype == torch.bfloat16)
    for name, term in terms.items():
        assert term.shape == (), name
        assert term.dtype == torch.float32, name
        assert term.isfinite(), name
    torch.stack(list(terms.values())).sum().backward()

    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    trained |= {f"features[{name}]": student.features[name] for name in method.taps.student}
    if method.label_weight > 0 or not method.taps.student:
        trained["logits"] = student.logits
    for name, tensor in trained.items():
        assert tensor.grad is not None, name
        assert tensor.grad.dtype == tensor.dtype, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name
    frozen = [teacher.logits, *teacher.features.values(), *(p for p in method.parameters() if not p.requires_grad)]
    assert all(tensor.grad is None for tensor in frozen)


# The peers of dml are networks, and work under autocast as the student does.
@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "dml"], ids=lambda file: file.stem)
def test_arithmetic_is_float32_whatever_comes_in(file: Path) -> None:
    method = build(file)
    student, teacher, batch, example = case("resnets", torch.bfloat16, kind_of(method))
    method.setup(example)
    precise = [
        dataclasses.replace(
            o, logits=o.logits.float(), features={name: feature.float() for name, feature in o.features.items()}
        )
        for o in (student, teacher)
    ]
    expected = evaluate(copy.deepcopy(method), *precise, batch, autocast=False)
    terms = evaluate(method, student, teacher, batch, autocast=True)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-4
    )


OF_CLASSES = [file for file in FILES if kind_of(build(file)) == "classes"]  # others' teachers answer with maps or boxes


@pytest.mark.parametrize("file", [f for f in OF_CLASSES if f.stem not in NO_CLASS_RULED_OUT], ids=lambda f: f.stem)
def test_a_teacher_may_rule_out_classes(file: Path) -> None:
    method = build(file)
    student, teacher, batch, example = case("resnets", torch.float32)
    distance = (torch.arange(CLASSES) - batch.targets[:, None]) % CLASSES  # the true class has 0
    masked = teacher.logits.detach().masked_fill((distance == 1) | (distance == 3), -torch.inf)
    method.setup(example)
    terms = evaluate(method, student, dataclasses.replace(teacher, logits=masked), batch, autocast=False)
    torch.stack(list(terms.values())).sum().backward()
    for name, term in terms.items():
        assert term.isfinite(), name
    leaves = [student.logits, *student.features.values(), *method.parameters()]
    assert all(leaf.grad.isfinite().all() for leaf in leaves if leaf.grad is not None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_terms_without_weights_do_not_depend_on_them(file: Path) -> None:
    method = build(file)
    student, teacher, batch, example = case("resnets", torch.float32, kind_of(method))
    method.setup(example)
    method.label_weight = 1.0
    other = copy.deepcopy(method)
    other.weight, other.label_weight = 3 * method.weight, 0.5
    terms, others = (evaluate(each, student, teacher, batch, autocast=False) for each in (method, other))
    assert isinstance(terms, LossTerms)
    assert isinstance(others, LossTerms)
    assert {k: v.item() for k, v in others.unweighted.items()} == {k: v.item() for k, v in terms.unweighted.items()}
    for name, term in terms.items():
        assert term.item() == pytest.approx(terms.weights[name] * terms.unweighted[name].item())
        factor = 0.5 if name in ("ce", "peers_ce") else 1 if name == "reconstruction" else 3
        assert others.weights[name] == pytest.approx(factor * terms.weights[name])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_state_survives_saving_and_loading(file: Path, tmp_path: Path) -> None:
    method, other = build(file), build(file)
    student, teacher, batch, example = case("resnets", torch.float32, kind_of(method))
    method.setup(example)
    for _ in range(2):  # whatever it remembers has moved
        evaluate(method, student, teacher, batch, autocast=False)
    torch.save(method.state_dict(), tmp_path / "method.pt")
    other.setup(example)
    other.load_state_dict(torch.load(tmp_path / "method.pt"))
    values = [evaluate(each, student, teacher, batch, autocast=False) for each in (method, other)]
    assert {k: v.item() for k, v in values[0].items()} == {k: v.item() for k, v in values[1].items()}


def test_all_methods_compose() -> None:
    student, teacher, batch, example = case("resnets", torch.float32)
    methods = {file.stem: method for file in FILES if kind_of(method := build(file)) == "classes"}
    composite = Composite(methods)
    composite.setup(example)
    terms = evaluate(composite, student, teacher, batch, autocast=False)
    assert all(term.isfinite() for term in terms.values())
    alone = [method(student, teacher, batch) for method in methods.values()]
    assert terms["ce"].item() == pytest.approx(sum(each["ce"].item() for each in alone if "ce" in each), rel=1e-5)
    assert set(terms) == {name for each in alone for name in each}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_configs_say_every_setting(file: Path) -> None:
    name, node = node_of(file)
    target = hydra.utils.get_class(node._target_)
    settings = {key: value for key, value in node.items() if key != "_target_" and key not in SWITCHES}
    defaults = {key: parameter.default for key, parameter in inspect.signature(target).parameters.items()}
    assert list(settings) == list(defaults), "all settings, in the order of the arguments"
    assert "schedules" in node, "every number may follow a schedule"
    assert ("standardize_logits" in node) == ("student_layers" not in node), "a switch for what compares logits"
    assert file.read_text().startswith("#"), "the first line says what it is and where its values come from"
    if name == file.stem:  # else a variant of another method, with values of its own
        for key, value in settings.items():
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            default = list(defaults[key]) if isinstance(defaults[key], tuple) else defaults[key]
            assert plain == (pytest.approx(default, rel=1e-3) if isinstance(default, float) else default), key
    doc = sys.modules[target.__module__].__doc__ or ""
    assert re.search(r"\d{4}\.\d{4,5}|CVPR|ICCV|ECCV|ICLR|AAAI|NeurIPS", doc), "the heading names the paper"
    assert "Shapes" in doc, "the heading gives the shapes"


def test_every_method_has_a_config() -> None:
    configured = {node_of(file)[1]._target_.rsplit(".", 1)[1] for file in FOLDER.glob("*.yaml")}
    public = [getattr(distill.methods, name) for name in distill.methods.__all__]
    methods = {cls.__name__ for cls in public if inspect.isclass(cls) and issubclass(cls, Method)}
    # DeiT needs a student with two heads, and so comes with one: configs/experiment/deit.yaml.
    assert configured == methods - {cls.__name__ for cls in (Method, Composite, Supervised, DeiT)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_method_says_that_it_needs_is_what_it_takes(file: Path) -> None:
    method = build(file)
    student, teacher, batch, example = case("resnets", torch.float32, kind_of(method))
    without = dataclasses.replace(example, classifier=None)
    if method.needs_classifier:
        with pytest.raises(ValueError, match="last linear layer"):
            build(file).setup(without)
    else:
        build(file).setup(without)
    method.setup(example)
    method.label_weight = 0.0
    others = labelled_otherwise(batch, kind_of(method))
    method.eval()
    before, after = (sum(evaluate(method, student, teacher, each, False).values()) for each in (batch, others))
    assert torch.equal(torch.as_tensor(before), torch.as_tensor(after)) != method.needs_classes
