//! Initial parameters, each keyed by the seed and its name.

use selfie_ops::{ParameterKind, ParameterSpec, UnitLayout};
use selfie_random::{Purpose, Stream};

/// Standard deviation of embeddings, as in BERT.
const EMBEDDING_STD: f64 = 0.02;

/// Convolutions: normal, variance 2 over the fan-in (He 2015). Linear: uniform within 1/√fan-in (PyTorch's default). Gains 1,
/// biases 0, embeddings normal.
pub(crate) fn initial_values(prefix: &str, layout: &UnitLayout, seed: u64) -> Vec<f32> {
    let mut values = Vec::with_capacity(layout.n_parameters());
    for p in layout.parameters() {
        let mut stream = Stream::new(seed, Purpose::Initialization, name_key(&format!("{prefix}{}", p.name)), 0);
        let fan_in = fan_in(p) as f64;
        let mut draw = || match p.kind {
            ParameterKind::Convolution => stream.normal() * (2.0 / fan_in).sqrt(),
            ParameterKind::Linear => stream.range(-1.0, 1.0) / fan_in.sqrt(),
            ParameterKind::Gain => 1.0,
            ParameterKind::Bias => 0.0,
            ParameterKind::Embedding => stream.normal() * EMBEDDING_STD,
        };
        values.extend((0..p.range.len()).map(|_| draw() as f32));
    }
    values
}

fn fan_in(p: &ParameterSpec) -> usize {
    match (p.kind, &p.shape[..]) {
        (ParameterKind::Convolution, &[height, width, input, _]) => height * width * input,
        (ParameterKind::Linear, &[_, input, ..]) => input,
        _ => 1,
    }
}

/// FNV-1a of the name: a tensor's draws do not change when another is added before it.
fn name_key(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
