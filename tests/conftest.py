"""What all tests share."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import ForkServer, fork_server
from hypothesis import settings
from jaxtyping import install_import_hook

SHAPES_CHECKED = (
    "distill.losses.logits", "distill.losses.singular", "distill.losses.top_k", "distill.methods",
    "distill.training.adapt",
)  # fmt: skip

# Files that take longest, which begin first, so that no process works alone at the end.
LONGEST = (
    "test_train.py", "test_launching.py", "test_ddp.py", "test_many_processes.py", "test_language_run.py",
    "test_compare_commits.py", "test_sweep_command.py", "test_real_teacher.py", "test_advice_works.py",
    "test_every_method_trains.py", "test_cached.py", "test_preflight.py", "test_build.py", "test_wheel.py",
)  # fmt: skip

# One thread a process, here and in the commands that tests start: the networks are tiny, and on a busy machine threads
# wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# matplotlib's list of fonts names files of the environment that wrote it; one of an environment that is gone makes it
# warn, and tests look at what commands print.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

# Shapes that annotations give, Float[Tensor, "n c"], are checked at each call in tests, and in tests alone.
install_import_hook(SHAPES_CHECKED, "checked_shapes.checked")

# The same examples in every run, so that a failure says something of the change at hand. HYPOTHESIS_PROFILE=default
# looks for new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """The whole suite runs in a process for each CPU; what is named, or chosen by -k or -m, in this one."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return None if whole and not (config.option.keyword or config.option.markexpr) else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the rest in the order of their names."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of 8 x 8 in four classes, told by their brightness."""
    file: Path = tmp_path_factory.mktemp("images") / "grey.npz"
    labels = np.arange(64) % 4
    noise = np.random.default_rng(0).integers(-8, 9, (64, 8, 8))
    pixels = (64 * labels[:, None, None] + 32 + noise).astype(np.uint8)
    np.savez(file, train_images=pixels, train_labels=labels, val_images=pixels[:40], val_labels=labels[:40])
    return file


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny encoder of texts, with its tokenizer."""
    import tiny_bert

    return tiny_bert.save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Starts the project's commands as processes that need not import anything."""
    with fork_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a run does to the loggers of its process is not for the next test."""
    from distill.log import OURS  # not before the environment is set

    loggers = [logging.getLogger(name) for name in OURS]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate
