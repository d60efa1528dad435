//! The same bytes on any number of threads.

use crate::normal;
use candle_core::{DType, Tensor, Var};
use selfie_ops::{
    BlockForm, NormMode, Precision, StageMap, StageSpec, TokenOutput, TransformerSpec, average_pool, cross_entropy,
    global_norm, linear, stage, transformer_layer,
};

/// Loss and gradients of a small network of every reduction there is, in f32 or with bf16 factors.
fn step(precision: Precision) -> Vec<Vec<f32>> {
    let first =
        StageSpec { form: BlockForm::PreActivation, in_channels: 16, mid_channels: 16, depth: 1, stride: 1, precision };
    let second = StageSpec { in_channels: first.out_channels(), depth: 2, stride: 2, ..first };
    let layer_spec =
        TransformerSpec { width: 64, heads: 4, ffn: 24, norm_first: false, precision, output: TokenOutput::All };
    let var = |tag, n: usize| Var::from_tensor(&normal(tag, &[n]).to_dtype(DType::F32).unwrap()).unwrap();
    let parameters = [
        var(1, first.layout().n_parameters()),
        var(5, second.layout().n_parameters()),
        var(2, layer_spec.layout().n_parameters()),
        var(3, 65 * 5),
    ];
    let x = normal(4, &[70, 8, 8, 16]).to_dtype(DType::F32).unwrap();
    let map = StageMap::new(&x, precision).unwrap();
    let one = stage(&map, &parameters[0], first, NormMode::Batch).unwrap();
    let two = stage(&one.y, &parameters[1], second, NormMode::Batch).unwrap();
    // The first map has two readers.
    let tokens = (average_pool(&one.y.tensor().unwrap(), 4).unwrap() + two.y.tensor().unwrap()).unwrap();
    let tokens = transformer_layer(&tokens.reshape((70, 16, 64)).unwrap(), &parameters[2], layer_spec, None).unwrap();
    let logits = linear(&tokens.reshape((70 * 16, 64)).unwrap(), &parameters[3], 5, Precision::Full).unwrap();
    let labels: Vec<u32> = (0..70 * 16).map(|i| i % 5).collect();
    let loss = cross_entropy(&logits, &labels, 0.1).unwrap();
    let gradients = loss.backward().unwrap();
    let gradients: Vec<Tensor> = parameters.iter().map(|p| gradients.get(p).unwrap().clone()).collect();
    let norm = global_norm(&gradients).unwrap() as f32;
    let mut out = vec![vec![loss.to_scalar::<f32>().unwrap(), norm]];
    out.extend(one.statistics.iter().chain(&two.statistics).chain(&gradients).map(|t| t.to_vec1::<f32>().unwrap()));
    out
}

#[test]
fn a_step_gives_the_same_bytes_on_one_to_four_threads() {
    for precision in [Precision::Full, Precision::Bf16] {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let one = pool(1).install(|| step(precision));
        assert!(one.iter().flatten().all(|v| v.is_finite()) && one[0][0] > 0.0);
        for threads in 2..=4 {
            let other = pool(threads).install(|| step(precision));
            for (a, b) in one.iter().zip(&other) {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{threads} threads differ from one in {precision:?}");
            }
        }
    }
}
