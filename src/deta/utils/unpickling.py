"""Why a file is not read as plain data."""


def unpickling_reason(error: Exception) -> str:
    """PyTorch's reason in one line, without its advice to read the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error:")[2]  # all of it where PyTorch gives no such reason
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
