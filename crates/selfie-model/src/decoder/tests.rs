use super::*;
use candle_core::Device;

fn decoder(scale: LogitScale) -> PointerDecoder {
    PointerDecoder::new(&SelfieConfig { logit_scale: scale, temperature: 0.5, ..SelfieConfig::default() })
}

fn tensor(values: &[f32], shape: (usize, usize, usize)) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn scores_are_dot_products_in_the_scale_asked_for() {
    let q = tensor(&[3., 4., 0., 0., 1., 0., 0., 0.], (1, 2, 4));
    let c = tensor(&[1., 0., 0., 0., 0., 2., 0., 0.], (1, 2, 4));
    let scores = |scale| decoder(scale).forward(&q, &c).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(scores(LogitScale::Raw), [3., 8., 1., 0.]);
    assert_eq!(scores(LogitScale::InverseSqrt), [1.5, 4., 0.5, 0.]);
    for (got, expected) in scores(LogitScale::Cosine).into_iter().zip([1.2, 1.6, 2.0, 0.0]) {
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }
}

#[test]
fn pointer_logits_reject_a_different_number_of_candidates() {
    let q = tensor(&[0.; 8], (1, 2, 4));
    let c = tensor(&[0.; 12], (1, 3, 4));
    let message = decoder(LogitScale::Raw).forward(&q, &c).unwrap_err().to_string();
    assert!(message.contains("[1, 2, 4]") && message.contains("[1, 3, 4]"), "{message}");
}
