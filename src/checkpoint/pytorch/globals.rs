//! The classes and functions that the pickle of a state dict may name.

use safetensors::Dtype;

use super::tensor::StorageClass;

/// A class or a function. It is never imported or run: the machine does what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildParameterWithState,
    Storage(StorageClass),
    /// The type of elements in an untyped storage.
    Dtype(Dtype),
}

/// All globals by module and name. `_rebuild_tensor_v3` is for the types without a storage class,
/// so no other types are here.
const GLOBALS: [(&str, &str, Global); 22] = {
    const fn storage(dtype: Dtype) -> Global {
        Global::Storage(StorageClass::Typed(dtype))
    }
    [
        ("collections", "OrderedDict", Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
        ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensorV2),
        ("torch._utils", "_rebuild_tensor_v3", Global::RebuildTensorV3),
        ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
        ("torch._utils", "_rebuild_parameter_with_state", Global::RebuildParameterWithState),
        ("torch.storage", "UntypedStorage", Global::Storage(StorageClass::Untyped)),
        ("torch", "FloatStorage", storage(Dtype::F32)),
        ("torch", "HalfStorage", storage(Dtype::F16)),
        ("torch", "BFloat16Storage", storage(Dtype::BF16)),
        ("torch", "DoubleStorage", storage(Dtype::F64)),
        ("torch", "LongStorage", storage(Dtype::I64)),
        ("torch", "IntStorage", storage(Dtype::I32)),
        ("torch", "ShortStorage", storage(Dtype::I16)),
        ("torch", "CharStorage", storage(Dtype::I8)),
        ("torch", "ByteStorage", storage(Dtype::U8)),
        ("torch", "BoolStorage", storage(Dtype::BOOL)),
        ("torch", "float8_e4m3fn", Global::Dtype(Dtype::F8_E4M3)),
        ("torch", "float8_e5m2", Global::Dtype(Dtype::F8_E5M2)),
        ("torch", "uint16", Global::Dtype(Dtype::U16)),
        ("torch", "uint32", Global::Dtype(Dtype::U32)),
        ("torch", "uint64", Global::Dtype(Dtype::U64)),
    ]
};

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        let known = GLOBALS.iter().find(|known| (known.0, known.1) == (module, name));
        known.map(|(_, _, global)| *global)
    }

    /// Returns the name, for messages.
    pub(super) fn name(self) -> String {
        let known = GLOBALS.iter().find(|known| known.2 == self);
        known.map_or_else(String::new, |(module, name, _)| format!("`{module}.{name}`"))
    }
}
