"""Checks of the machine that onnxruntime makes when it is imported: none is needed."""


def check_distro_info() -> None:
    """Every distribution will do."""


def validate_build_package_info() -> tuple[bool, str, str, str]:
    """(training, package, version, CUDA version)."""
    from toolkit.runtime.api.environment import cuda_version, package_name, version

    return False, package_name, version, cuda_version
