use super::*;
use selfie_random::Purpose;

const JITTER: ColourJitter = ColourJitter { brightness: 0.4, contrast: 1.5, saturation: 0.2, hue: 0.1 };

fn drawn(jitter: ColourJitter, example: u32) -> Adjustments {
    jitter.draw(&mut Stream::new(1, Purpose::ColourJitter, 0, example))
}

fn factor(of: Adjustments, adjustment: Adjustment) -> f64 {
    of.0.into_iter().find(|(this, _)| *this == adjustment).unwrap().1
}

#[test]
fn factors_are_uniform_in_their_ranges() {
    for (adjustment, lowest, highest) in [
        (Adjustment::Brightness, 0.6, 1.4),
        (Adjustment::Contrast, 0.0, 2.5),
        (Adjustment::Saturation, 0.8, 1.2),
        (Adjustment::Hue, -0.1, 0.1),
    ] {
        let factors: Vec<f64> = (0..10_000).map(|example| factor(drawn(JITTER, example), adjustment)).collect();
        assert!(factors.iter().all(|factor| (lowest..highest).contains(factor)), "{adjustment:?}");
        let mean = factors.iter().sum::<f64>() / 10_000.0;
        // Five standard deviations of a mean of 10,000 uniform numbers: 5 × 0.289 / 100 of the range.
        assert!((mean - (lowest + highest) / 2.0).abs() < 0.0145 * (highest - lowest), "{adjustment:?}: {mean}");
    }
}

#[test]
fn all_orders_are_equally_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for example in 0..24_000 {
        let order = drawn(JITTER, example).0.map(|(adjustment, _)| adjustment as u8);
        *counts.entry(order).or_insert(0_u32) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| count.abs_diff(1000) < 160), "{counts:?}");
}

#[test]
fn leaving_one_out_changes_no_other_draw() {
    let without = drawn(ColourJitter { contrast: 0.0, ..JITTER }, 5);
    assert_eq!(factor(without, Adjustment::Contrast), 1.0);
    for adjustment in [Adjustment::Brightness, Adjustment::Saturation, Adjustment::Hue] {
        assert_eq!(factor(without, adjustment), factor(drawn(JITTER, 5), adjustment));
    }
}

#[test]
fn no_jitter_leaves_every_byte() {
    let mut image: Vec<u8> = (0..=255).cycle().take(3 * 700).collect();
    let before = image.clone();
    drawn(ColourJitter::default(), 0).apply(&mut image);
    assert_eq!(image, before);
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    for wrong in [
        ColourJitter { brightness: -0.1, ..JITTER },
        ColourJitter { contrast: f64::NAN, ..JITTER },
        ColourJitter { saturation: f64::INFINITY, ..JITTER },
        ColourJitter { hue: 0.6, ..JITTER },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
    assert!(JITTER.check().is_ok());
}
