"""The model of `make bench` in other weight types, made once: a GGUF file is widened to fp32 and stored again.

    gguf_variants.py MODEL.gguf DIR F32 BF16 Q8_0

writes DIR/<name without type>.<TYPE>.gguf for each type that is not there yet.  Every matrix gets the type, vectors stay F32;
metadata and order of tensors are the model's own.  Both sides of the bench read the same file.
"""
import os
import sys

import gguf
import numpy as np


def copy_fields(reader, writer, file_type):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def write(model, path, kind):
    reader = gguf.GGUFReader(model)
    dtype = gguf.GGMLQuantizationType[kind]
    file_type = dict(F32=gguf.LlamaFileType.ALL_F32, BF16=gguf.LlamaFileType.MOSTLY_BF16, Q8_0=gguf.LlamaFileType.MOSTLY_Q8_0)[kind]
    writer = gguf.GGUFWriter(path + ".part", reader.get_field("general.architecture").contents())
    copy_fields(reader, writer, file_type)
    for t in reader.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
        if len(shape) < 2:
            writer.add_tensor(t.name, x)
        else:
            writer.add_tensor(t.name, gguf.quants.quantize(x, dtype), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".part", path)


def main():
    model, folder, kinds = sys.argv[1], sys.argv[2], sys.argv[3:]
    os.makedirs(folder, exist_ok=True)
    stem = os.path.basename(model)[:-len(".gguf")].rsplit(".", 1)[0]
    for kind in kinds:
        path = os.path.join(folder, "%s.%s.gguf" % (stem, kind))
        if not os.path.exists(path):
            write(model, path, kind)
            print(path)


if __name__ == "__main__":
    main()
