"""The choice of the device: locks, GPUs that PyTorch cannot use, HISTO_DEVICE, exhausted memory."""

import os
import subprocess

import pytest
import torch

from histo import gpus
from histo.errors import InputError
from histo.training import devices
from histo.training.devices import claim_device, reproducible

VARIABLES = ("HISTO_DEVICE", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
NO_DRIVER = "The NVIDIA driver on your system is too old (found version 11040) (PyTorch 2.14 for CUDA 13.0)"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that sets what the probes find; without a call: no GPU, no variables."""

    def found(*, failure="", files=(), count=0, free=None, failures=None, mps=False, **variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name, value in {
            "cuda_failure": failure or ("" if count else "no GPU"),
            "gpu_count": count,
            "free_memory": {f"uuid-{index}": value for index, value in (free or {}).items()},
            "mps_available": mps,
        }.items():
            monkeypatch.setattr(devices, name, lambda value=value: value)
        monkeypatch.setattr(gpus, "device_files", lambda: list(files))
        monkeypatch.setattr(devices, "gpu_failure", lambda index: (failures or {}).get(index, ""))

    monkeypatch.setattr(devices, "gpu_identity", lambda index: f"uuid-{index}")
    monkeypatch.setattr(devices, "_slot", lambda identity: tmp_path / identity)
    monkeypatch.setattr(devices, "_on_gpu", lambda index, file: (torch.device("cuda", index), file))
    monkeypatch.setattr(devices, "device_name", lambda device, threads: f"{device} with {threads} threads")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    found()
    return found


def chosen():
    with claim_device(2) as device:
        return str(device)


def test_two_jobs_claim_two_devices(tmp_path):
    slots = [tmp_path / "gpu-a", tmp_path / "gpu-b"]
    first, first_file = devices.claim(slots)
    second, second_file = devices.claim(slots)
    assert (first, second) == (0, 1)
    third, third_file = devices.claim(slots)
    assert third in (0, 1)
    os.close(third_file)
    os.close(first_file)
    again, again_file = devices.claim(slots)
    assert again == 0
    os.close(again_file)
    os.close(second_file)


def test_without_a_gpu_the_job_runs_on_the_cpu(machine):
    assert chosen() == "cpu"


@pytest.mark.parametrize(
    ("found", "evidence"),
    [
        ({"files": ["/dev/nvidia0", "/dev/nvidia1"]}, "/dev/nvidia0"),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0"}, "SLURM_JOB_GPUS=0"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_GPUS": "3"}, "SLURM_STEP_GPUS=3"),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}, "SLURM_JOB_GPUS=0"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-12"}, "CUDA_VISIBLE_DEVICES=GPU-12"),
        ({"HISTO_DEVICE": "cuda"}, "HISTO_DEVICE=cuda"),
        ({"HISTO_DEVICE": "cuda:1"}, "HISTO_DEVICE=cuda:1"),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_an_error(machine, found, evidence):
    machine(failure=NO_DRIVER, **found)
    with pytest.raises(InputError) as error:
        chosen()
    assert str(error.value) == (
        f"{evidence}: expected a GPU that PyTorch can use, found: {NO_DRIVER}. Update the NVIDIA driver, install a "
        "build of PyTorch for this driver and GPU, or set HISTO_DEVICE=cpu to run on the CPU on purpose."
    )


@pytest.mark.parametrize(
    "found",
    [
        {"HISTO_DEVICE": "cpu", "SLURM_JOB_GPUS": "0", "files": ["/dev/nvidia0"]},
        {"HISTO_DEVICE": "cpu", "count": 2},
        {"CUDA_VISIBLE_DEVICES": "", "files": ["/dev/nvidia0"]},
        {"CUDA_VISIBLE_DEVICES": "-1", "files": ["/dev/nvidia0"]},
        {"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_JOB_ID": "7", "files": ["/dev/nvidia0"]},
        {"SLURM_JOB_ID": "7", "files": ["/dev/nvidia0"]},  # a job without GPUs on a node with GPUs
    ],
)
def test_a_gpu_that_is_hidden_or_not_wanted_is_no_error(machine, found):
    machine(**found)
    assert chosen() == "cpu"


@pytest.mark.parametrize("value", ["gpu", "cuda:", "cuda:x", "CPU", "mps:0"])
def test_an_unknown_device_is_an_error(machine, value):
    machine(HISTO_DEVICE=value)
    with pytest.raises(InputError, match=f"HISTO_DEVICE: expected one of cpu, cuda, cuda:N, mps, found '{value}'"):
        chosen()


def test_a_job_takes_the_free_gpu_with_most_free_memory(machine):
    machine(count=3, free={0: 1000, 1: 80000, 2: 20000})
    with claim_device(2) as first, claim_device(2) as second, claim_device(2) as third:
        assert [str(first), str(second), str(third)] == ["cuda:1", "cuda:2", "cuda:0"]
        with claim_device(2) as fourth:
            assert fourth.type == "cuda"
    assert chosen() == "cuda:1"


def test_gpus_of_unknown_memory_are_taken_in_their_order(machine):
    machine(count=2)
    with claim_device(2) as first, claim_device(2) as second:
        assert [str(first), str(second)] == ["cuda:0", "cuda:1"]


def test_histo_device_selects_one_of_several_gpus(machine):
    machine(count=2, free={0: 9, 1: 1}, HISTO_DEVICE="cuda:1")
    assert chosen() == "cuda:1"
    machine(count=2, HISTO_DEVICE="cuda:2")
    with pytest.raises(InputError, match="HISTO_DEVICE=cuda:2: expected one of the visible GPUs, found cuda:0, cuda:1"):
        chosen()


def test_a_gpu_in_exclusive_mode_is_passed_over(machine):
    busy = {0: "GPU 0, A: CUDA-capable device(s) is/are busy", 1: "GPU 1, B: out of memory"}
    machine(count=3, free={0: 9, 1: 5, 2: 1}, failures=busy)
    assert chosen() == "cuda:2"
    machine(count=2, failures=busy)
    with pytest.raises(InputError) as error:
        chosen()
    assert str(error.value) == (
        "Expected a GPU that PyTorch can use, found GPU 0, A: CUDA-capable device(s) is/are busy; GPU 1, B: out of "
        "memory. Wait until a GPU is free, choose another one with HISTO_DEVICE=cuda:N or CUDA_VISIBLE_DEVICES, or set "
        "HISTO_DEVICE=cpu to run on the CPU on purpose."
    )


def test_a_failed_trial_names_the_gpu_and_what_pytorch_supports(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch, "ones", fails)
    monkeypatch.setattr(torch, "__version__", "2.14")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 0))
    error = "GPU 3, Tesla V100: CUDA error: no kernel image is available for execution on the device"
    assert devices.gpu_failure(3) == (
        f"{error}; its compute capability is 7.0, PyTorch 2.14 was built for sm_75, sm_80, sm_120"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 9))
    assert devices.gpu_failure(3) == error


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 0), ["sm_80"], True),
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80"], False),
        ((9, 0), ["compute_80"], True),
        ((12, 0), ["sm_90", "sm_120"], True),
        ((10, 3), ["sm_120"], False),
        ((9, 0), [], False),
    ],
)
def test_code_runs_on_gpus_of_its_architecture(capability, architectures, runs):
    assert devices.runs_on(capability, architectures) is runs


def test_the_reason_of_torch_is_part_of_the_error(monkeypatch):
    def fails():
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", fails)
    monkeypatch.setattr(torch, "__version__", "2.14")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert devices.cuda_failure() == "Found no NVIDIA driver on your system (PyTorch 2.14 for CUDA 13.0)"
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert devices.cuda_failure() == "PyTorch 2.14 was built without CUDA"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.cuda_failure() == ""


def test_free_memory_is_read_from_nvidia_smi(monkeypatch):
    output = "GPU-aa-01, 81037\nGPU-bb-02, [N/A]\nGPU-cc-03, 12\n"
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, output))
    assert devices.free_memory() == {"aa-01": 81037, "cc-03": 12}

    def missing(*args, **kwargs):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", missing)
    assert devices.free_memory() == {}


def test_mps_is_used_where_it_is_there(machine):
    machine(mps=True)
    assert chosen() == "mps"
    machine(mps=True, HISTO_DEVICE="cpu")
    assert chosen() == "cpu"
    machine(mps=True, count=1)
    assert chosen() == "cuda:0"
    machine(mps=True, count=1, HISTO_DEVICE="mps")
    assert chosen() == "mps"
    machine(HISTO_DEVICE="mps")
    with pytest.raises(InputError, match="HISTO_DEVICE=mps: expected a GPU of an Apple processor, found none"):
        chosen()


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ({"count": 1}, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")),
        ({"count": 1}, RuntimeError("CUDA error: out of memory")),
        ({"mps": True}, RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)")),
    ],
)
def test_exhausted_gpu_memory_is_an_error_with_advice(machine, found, error):
    machine(**found)
    with pytest.raises(InputError) as raised, claim_device(2) as device:
        raise error
    first = str(error).splitlines()[0]
    assert str(raised.value) == (
        f"{device} with 2 threads: the memory of the GPU is exhausted ({first}). Set a smaller batch_size of the "
        "model, set HISTO_TILES_STORAGE=cache to keep the tiles in main memory, end other programs that use this GPU, "
        "or choose another one with HISTO_DEVICE=cuda:N."
    )
    assert raised.value.__cause__ is error


def test_other_errors_pass_unchanged(machine):
    for found in ({"count": 1}, {}):
        machine(**found)
        with pytest.raises(RuntimeError, match=r"^shapes differ$"), claim_device(2):
            raise RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match=r"^out of memory$"), claim_device(2):  # main memory
        raise RuntimeError("out of memory")


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    names = [devices.device_name(torch.device(name), 4) for name in ("cpu", "mps", "cuda:1")]
    assert names == ["CPU, 4 threads", "Apple MPS", "GPU 1"]


def flags():
    return (
        torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory,
    )  # fmt: skip


def test_deterministic_kernels_inside_the_context_only(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    with reproducible(False):
        assert flags() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with pytest.raises(ZeroDivisionError), reproducible(True):
        assert flags() == (True, False, False, False, False)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        raise ZeroDivisionError
    assert flags() == before
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


def test_processes_of_one_training_share_no_gpu(tmp_path):
    slots = [tmp_path / "a"]
    index, file = devices.claim(slots, sharing=False)
    assert index == 0
    with pytest.raises(InputError, match="Expected a free GPU for each process of this training"):
        devices.claim(slots, sharing=False)
    index, shared = devices.claim(slots)
    assert index == 0
    for opened in (file, shared):
        os.close(opened)
