use super::*;

const KEY: DropoutKey = DropoutKey { seed: 99, step: 12, layer: 3 };

fn mask(key: DropoutKey, p: f64, offset: u64, n: usize) -> Vec<bool> {
    let mut out = vec![false; n];
    key.keep_mask(p, offset, &mut out);
    out
}

#[test]
fn an_element_is_one_word_of_its_block() {
    let out = mask(KEY, 0.4, 0, 1000);
    for (i, &kept) in out.iter().enumerate() {
        let words = philox4x32([i as u32 / 4, Purpose::Dropout as u32, 12, 3], [99, 0]);
        assert_eq!(kept, f64::from(words[i % 4]) >= 0.4 * 4_294_967_296.0, "element {i}");
    }
}

#[test]
fn pieces_of_any_size_equal_the_whole() {
    let whole = mask(KEY, 0.1, 0, 1000);
    for start in 0..140 {
        for len in [0, 1, 2, 3, 4, 5, 63, 64, 65, 200, 700] {
            assert_eq!(mask(KEY, 0.1, start as u64, len), whole[start..start + len], "{start} + {len}");
        }
    }
}

#[test]
fn pieces_agree_where_the_block_index_passes_a_word() {
    let border = 1_u64 << 34;
    let whole = mask(KEY, 0.5, border - 100, 200);
    assert_eq!(mask(KEY, 0.5, border - 3, 103), whole[97..]);
    assert_ne!(mask(KEY, 0.5, border, 100), mask(KEY, 0.5, 0, 100), "the high word of the index counts");
}

#[test]
fn the_keep_rate_is_one_minus_p() {
    for p in [0.0, 0.01, 0.1, 0.5, 0.9] {
        let n_kept = mask(KEY, p, 17, 1_000_000).into_iter().filter(|&kept| kept).count();
        let expected = (1.0 - p) * 1e6;
        let five_sigma = 5.0 * (1e6 * p * (1.0 - p)).sqrt();
        assert!((n_kept as f64 - expected).abs() <= five_sigma, "p = {p}: {n_kept}");
    }
    assert!(mask(KEY, 1.0, 0, 1000).into_iter().all(|kept| !kept));
}

#[test]
fn seed_step_and_layer_change_the_decisions() {
    let base = mask(KEY, 0.5, 0, 200);
    for other in [DropoutKey { seed: 100, ..KEY }, DropoutKey { step: 13, ..KEY }, DropoutKey { layer: 4, ..KEY }] {
        assert_ne!(mask(other, 0.5, 0, 200), base);
    }
}

#[test]
fn scales_follow_the_mask_and_keep_the_mean() {
    let kept = mask(KEY, 0.2, 5, 777);
    let (mut single, mut double) = (vec![9.0_f32; 777], vec![9.0_f64; 777]);
    KEY.fill_keep_scale_f32(0.2, 5, &mut single);
    KEY.fill_keep_scale_f64(0.2, 5, &mut double);
    for ((kept, single), double) in kept.into_iter().zip(single).zip(double) {
        assert_eq!(single, if kept { 1.25 } else { 0.0 });
        assert_eq!(double, if kept { 1.25 } else { 0.0 });
    }
    let mut nothing = vec![9.0_f32; 70];
    KEY.fill_keep_scale_f32(1.0, 0, &mut nothing);
    assert!(nothing.iter().all(|&scale| scale == 0.0), "p = 1 must not give infinities");
}
