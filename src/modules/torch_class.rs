//! Activations by the paths of their classes in PyTorch.

use likewise_kernels::math::Activation;

/// Returns the activation of a class of the package torch, or None for Identity. `Err` means that
/// the class is not known.
pub(crate) fn torch_activation(path: &str) -> Result<Option<Activation>, ()> {
    let class = path.rsplit_once('.').filter(|(package, _)| package.split('.').next() == Some("torch"));
    Ok(Some(match class.map(|(_, class)| class) {
        Some("Identity") => return Ok(None),
        Some("Tanh") => Activation::Tanh,
        Some("ReLU") => Activation::Relu,
        Some("GELU") => Activation::Gelu,
        Some("SiLU") => Activation::Silu,
        Some("Mish") => Activation::Mish,
        Some("Sigmoid") => Activation::Sigmoid,
        _ => return Err(()),
    }))
}
