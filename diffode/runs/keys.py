"""Keys: twelve hexadecimal digits that name everything that decides a result."""

from __future__ import annotations

import hashlib
import json

from torch import Tensor


def key_of(content: object) -> str:
    """The key of a JSON-able value."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def key_of_values(*tensors: Tensor | None) -> str:
    """The key of the values of tensors."""
    state = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            state.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:12]
