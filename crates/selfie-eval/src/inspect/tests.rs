use super::*;
use selfie_data::shapes32;
use selfie_model::SelfieConfig;

fn network() -> Selfie {
    let config =
        SelfieConfig { width: 4, depths: [1, 1, 1, 1], heads: 2, ffn: 16, layers: 2, ..SelfieConfig::default() };
    Selfie::new(&config, DType::F32, &Device::Cpu, 3).unwrap()
}

#[test]
fn every_hidden_place_has_probabilities_and_every_layer_an_attention_that_sum_to_one() {
    let data = shapes32::draw(100, 10);
    let examples: Vec<u32> = (10..80).collect();
    let inspected = inspect(&network(), &data.train, &examples, 1, &Device::Cpu).unwrap();
    assert_eq!(inspected.iter().map(|image| image.image).collect::<Vec<_>>(), examples);
    for image in &inspected {
        let mut places = image.order.clone();
        places.sort_unstable();
        assert_eq!(places, (0..16).collect::<Vec<u32>>());
        assert_eq!((image.probs.len(), image.attention.len()), (16, 2));
        for sum in image.probs.chunks_exact(4).chain(image.attention.iter().map(Vec::as_slice)) {
            assert!((sum.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{sum:?}");
        }
        assert!(image.attention.iter().all(|layer| layer.len() == 13));
    }
    let again = inspect(&network(), &data.train, &examples[64..65], 1, &Device::Cpu).unwrap();
    assert_eq!(again[0].order, inspected[64].order, "a mask does not depend on the company");
}

#[test]
fn wrong_choices_come_surest_first() {
    let image = |probs: &[f32]| Inspected { image: 0, order: Vec::new(), probs: probs.to_vec(), attention: Vec::new() };
    let inspected = [image(&[0.9, 0.1, 0.6, 0.4]), image(&[0.2, 0.8, 0.3, 0.7])];
    let wrong = wrong_choices(&inspected);
    let pairs: Vec<_> = wrong.iter().map(|wrong| (wrong.inspected, wrong.place, wrong.prob)).collect();
    assert_eq!(pairs, [(1, 0, 0.8), (0, 1, 0.6)]);
    assert_eq!(pretext_accuracy(&inspected), 0.5);
}
