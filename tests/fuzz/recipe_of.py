"""recipe_of.py FILE.h5: prints the recipe (recipe.hpp) of an HDF5 file of numbers and text, as a seed for the corpus."""
import sys

import h5py
import numpy as np


def numbers(values):
    return " = " + " ".join(repr(value) for value in np.asarray(values).ravel().tolist()) if np.size(values) else ""


def type_word(dtype):
    word = f"{dtype.kind}{dtype.itemsize}"
    return word.upper() if dtype.byteorder == ">" else word


def shape_word(shape):
    return "x".join(map(str, shape)) or "scalar"


def print_attributes(item):
    for name, value in item.attrs.items():
        if isinstance(value, str):
            print(f"attr {item.name} {name} text scalar = {value}")
        else:
            value = np.asarray(value)
            print(f"attr {item.name} {name} {type_word(value.dtype)} {shape_word(value.shape)}{numbers(value)}")


def print_item(_, item):
    if isinstance(item, h5py.Dataset):
        chunks = f" chunks={shape_word(item.chunks)}" if item.chunks else ""
        gzip = " gzip" if item.compression == "gzip" else ""
        print(f"data {item.name} {type_word(item.dtype)} {shape_word(item.shape)}{chunks}{gzip}{numbers(item[()])}")
    else:
        print(f"group {item.name}")
    print_attributes(item)


with h5py.File(sys.argv[1]) as file:
    print_attributes(file)
    file.visititems(print_item)
