use super::*;

fn grid() -> PatchGrid {
    PatchGrid::new(32, 8).unwrap()
}

fn draw(example: u32) -> Draw {
    Draw { seed: 1, epoch: 0, example }
}

/// Patches whose pixels say where they are in their patch: (y, x, patch), in steps a resize does not blur away.
fn coordinates() -> Vec<u8> {
    let pixel = |i: usize| [10 * (i / 8 % 8) as u8, 10 * (i % 8) as u8, 10 + (i / 64) as u8];
    (0..32 * 32).flat_map(pixel).collect()
}

fn changed(augmentation: PatchAugmentation, example: u32) -> Vec<u8> {
    let mut patches = coordinates();
    augmentation.apply(grid(), draw(example), &mut patches);
    patches
}

fn jitter(most: usize, fill: JitterFill) -> PatchAugmentation {
    PatchAugmentation { jitter: Some(PatchJitter { most, fill }), ..PatchAugmentation::default() }
}

fn colour_drop(share: f64, dropped: DroppedChannels) -> PatchAugmentation {
    PatchAugmentation { colour_drop: Some(ColourDrop { share, dropped }), ..PatchAugmentation::default() }
}

#[test]
fn the_default_changes_nothing() {
    assert_eq!(changed(PatchAugmentation::default(), 0), coordinates());
    assert_eq!(changed(colour_drop(0.0, DroppedChannels::Constant), 0), coordinates());
}

#[test]
fn each_channel_is_kept_equally_often_and_the_others_are_the_middle() {
    let mut counts = [0_u32; 4];
    for example in 0..1500 {
        let before = coordinates();
        let after = changed(colour_drop(0.5, DroppedChannels::Constant), example);
        for (before, after) in before.chunks_exact(192).zip(after.chunks_exact(192)) {
            let kept: Vec<usize> = (0..3).filter(|c| (0..64).all(|i| before[i * 3 + c] == after[i * 3 + c])).collect();
            if kept.len() == 3 {
                counts[3] += 1;
                continue;
            }
            let [kept] = kept[..] else { panic!("{kept:?}") };
            let is_middle = |(i, value): (usize, &u8)| i % 3 == kept || *value == MIDDLE;
            assert!(after.iter().enumerate().all(is_middle));
            counts[kept] += 1;
        }
    }
    // Of 24,000 patches 4000 keep each channel alone and 12,000 all.
    assert!(
        counts[..3].iter().all(|count| count.abs_diff(4000) < 290) && counts[3].abs_diff(12_000) < 390,
        "{counts:?}"
    );
}

#[test]
fn a_patch_of_its_kept_channel_is_grey() {
    let after = changed(colour_drop(1.0, DroppedChannels::Kept), 0);
    assert!(after.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}

#[test]
fn padded_jitter_moves_a_crop_to_the_middle_and_mirrors_its_edges() {
    let (mut sides, mut places) = ([0_u32; 3], [0_u32; 3]);
    for example in 0..200 {
        for (idx, patch) in changed(jitter(2, JitterFill::Pad), example).chunks_exact(192).enumerate() {
            let at = |y: usize, x: usize| [0, 1, 2].map(|c| patch[(y * 8 + x) * 3 + c]);
            // Rows: the middle of the patch runs on; the crop's first row is where the mirror is.
            let rows: Vec<u8> = (0..8).map(|y| at(y, 4)[0] / 10).collect();
            let columns: Vec<u8> = (0..8).map(|x| at(4, x)[1] / 10).collect();
            let n_lost = 7 - (rows.iter().max().unwrap() - rows.iter().min().unwrap());
            sides[n_lost as usize] += 1;
            for line in [&rows, &columns] {
                assert_eq!(7 - (line.iter().max().unwrap() - line.iter().min().unwrap()), n_lost, "{line:?}");
                let (first, last) = (*line.iter().min().unwrap() as usize, *line.iter().max().unwrap() as usize);
                let before = n_lost as usize / 2;
                let expected: Vec<u8> = (0..8_usize)
                    .map(|i| i.abs_diff(before) + first)
                    .map(|i| if i > last { 2 * last - i } else { i } as u8)
                    .collect();
                assert_eq!(*line, expected);
            }
            if n_lost == 2 {
                places[*rows.iter().min().unwrap() as usize] += 1;
            }
            assert!(patch.iter().skip(2).step_by(3).all(|value| *value == 10 + idx as u8), "another patch's pixels");
        }
    }
    // 3200 patches: half lose one pixel, half two; of these a third begins at each of three rows.
    assert!(sides[0] == 0 && sides[1].abs_diff(1600) < 142, "{sides:?}");
    assert!(places.iter().all(|count| count.abs_diff(533) < 100), "{places:?}");
}

#[test]
fn enlarged_crops_run_evenly_from_edge_to_edge() {
    for (top, left, side) in [(0, 0, 6), (2, 1, 6), (1, 0, 7), (3, 4, 4)] {
        let mut out = vec![0; 192];
        enlarge(&coordinates()[..192], 8, PatchCrop { top, left, side }, &mut out);
        for y in 0..8 {
            for x in 0..8 {
                let place = |at: usize, first: usize| {
                    let position = (at as f64 + 0.5) * side as f64 / 8.0 - 0.5;
                    10.0 * (first as f64 + position.clamp(0.0, side as f64 - 1.0))
                };
                let pixel = &out[(y * 8 + x) * 3..][..3];
                assert!((f64::from(pixel[0]) - place(y, top)).abs() <= 0.5, "{y} {x}: {pixel:?}");
                assert!((f64::from(pixel[1]) - place(x, left)).abs() <= 0.5, "{y} {x}: {pixel:?}");
                assert_eq!(pixel[2], 10);
            }
        }
    }
}

#[test]
fn patches_examples_and_operations_have_their_own_draws() {
    let dropped = changed(colour_drop(1.0, DroppedChannels::Constant), 0);
    assert_ne!(dropped, changed(colour_drop(1.0, DroppedChannels::Constant), 1));
    let both = PatchAugmentation {
        colour_drop: Some(ColourDrop { share: 1.0, dropped: DroppedChannels::Constant }),
        ..jitter(2, JitterFill::Resize)
    };
    let kept = |patches: &[u8]| -> Vec<usize> {
        let of_patch = |patch: &[u8]| (0..3).find(|c| (0..64).any(|i| patch[i * 3 + c] != MIDDLE)).unwrap();
        patches.chunks_exact(192).map(of_patch).collect()
    };
    assert_eq!(kept(&changed(both, 0)), kept(&dropped), "jitter changes which channel stays");
}

#[test]
fn jitter_of_half_a_patch_and_shares_above_one_are_refused() {
    assert!(jitter(4, JitterFill::Pad).check(grid()).is_err());
    assert!(jitter(0, JitterFill::Pad).check(grid()).is_err());
    assert!(jitter(3, JitterFill::Pad).check(grid()).is_ok());
    assert!(colour_drop(1.1, DroppedChannels::Kept).check(grid()).is_err());
}
