"""Every error that trtqat raises on purpose.

    TrtqatError            1  it failed
    ├── UsageError         2  wrong usage or input
    │   ├── SourceError       the model: factory, checkpoint, TorchScript file
    │   │   └── ForwardError      its forward raises
    │   ├── QuantizerError    a quantizer that cannot become a Q/DQ pair
    │   ├── GraphError        the ONNX file
    │   ├── PlanError         the plan file or its manifest
    │   └── DataError         the evaluation data
    ├── ExportError        1  tracing, translating or verifying a graph
    ├── BuildError         1  TensorRT could not build
    ├── InferenceError     1  TensorRT or ONNX Runtime could not run
    ├── GateError          3  measured, but a gate was not met
    └── MissingError       4  something needed is not here (GPU, TensorRT, an extra)

The number is the exit code of the command line. A message is two sentences: what is
wrong, naming the thing; and the way out.
"""

from __future__ import annotations


class TrtqatError(Exception):
    """Base of all errors below.

    Attributes:
        problem: One sentence that names the tensor, layer or file.
        remedy: One sentence with the way out; empty if there is none to name.
        exit_code: Exit code of the command line.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        # A name out of a file may hold a line break, and so say more than one sentence.
        problem = problem.replace("\n", r"\n").replace("\r", r"\r")
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class UsageError(TrtqatError):
    """Wrong usage or input; the parent of everything a user can mend in the call."""

    exit_code = 2


class SourceError(UsageError):
    """The model's source is missing, raises, or does not fit its checkpoint."""


class ForwardError(SourceError):
    """The model's forward raises on the samples that it was given."""


class QuantizerError(UsageError):
    """A quantizer's state has no exact Q/DQ equivalent; the message names the quantizer."""


class GraphError(UsageError):
    """The file is not ONNX, or holds something that this step cannot take."""


class PlanError(UsageError):
    """The file is not a plan, is damaged, or is a plan for another TensorRT."""


class DataError(UsageError):
    """The evaluation data is missing, truncated, or does not fit the model."""


class ExportError(TrtqatError):
    """The model could not be traced, or its graph does not compute what the model does."""


class BuildError(TrtqatError):
    """TensorRT refused the graph or found no implementation."""


class InferenceError(TrtqatError):
    """A runtime failed while it ran."""


class GateError(TrtqatError):
    """The figures were measured and reported, but a gate was not met."""

    exit_code = 3


class MissingError(TrtqatError):
    """A package, a GPU or a driver that this step needs is not on this host."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's message, without its full stop, or its class name."""
    return message_of(error) or type(error).__name__


def message_of(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; empty if it has none."""
    try:
        lines = str(error).strip().splitlines()
    # A user's class may have a __str__ of its own, which may raise anything.
    except (Exception, SystemExit, GeneratorExit):
        return ""
    return lines[0].rstrip(".") if lines else ""
