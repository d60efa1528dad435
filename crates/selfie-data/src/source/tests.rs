use super::*;
use crate::{Crop, Loader, PaddedCrop, Padding, shapes32};

const SETTINGS: LabelledSettings =
    LabelledSettings { augmentation: None, mixing: Mixing { mixup: 0.0, cutmix: 0.0 }, seed: 4, batch: 6 };

fn images() -> Arc<Images> {
    shapes32::draw(20, 0).train
}

fn settings() -> PretrainSettings {
    PretrainSettings {
        grid: PatchGrid::new(32, 8).unwrap(),
        masks: MaskSampler::new(16, 4).unwrap(),
        augmentation: Some(Augmentation::default()),
        patches: PatchAugmentation::default(),
        seed: 4,
        batch: 6,
    }
}

#[test]
fn shapes_of_a_pretraining_batch() {
    let batch = PretrainSource::new(images(), None, settings()).unwrap().batch(0).unwrap();
    assert_eq!(batch.patches.len(), 6 * 16 * 8 * 8 * 3);
    assert_eq!((batch.order.len(), batch.examples.len()), (6 * 16, 6));
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let source = Arc::new(PretrainSource::new(images(), None, settings()).unwrap());
    let inline: Vec<_> = (0..25).map(|step| source.batch(step).unwrap()).collect();
    for workers in [0, 1, 4] {
        let source = source.clone();
        let loader = Loader::new(move |step| source.batch(step), 0..25, workers, 3);
        let loaded: Vec<_> = loader.map(Result::unwrap).collect();
        assert!(loaded == inline, "{workers} workers");
    }
}

#[test]
fn the_batches_of_several_processes_are_together_the_batch_of_one() {
    for world_size in 1..=4_u32 {
        let of_one = PretrainSettings { batch: 6 * world_size as usize, ..settings() };
        let one = PretrainSource::new(images(), None, of_one).unwrap();
        let shard = |rank| Shard::new(rank, world_size).unwrap();
        let each = |rank| PretrainSource::new(images(), None, settings()).unwrap().sharded(shard(rank));
        let sources: Vec<PretrainSource> = (0..world_size).map(each).collect();
        for step in 0..5 {
            let batches: Vec<PretrainBatch> = sources.iter().map(|source| source.batch(step).unwrap()).collect();
            let alone = one.batch(step).unwrap();
            assert_eq!(batches.iter().flat_map(|batch| batch.examples.clone()).collect::<Vec<_>>(), alone.examples);
            assert_eq!(batches.iter().flat_map(|batch| batch.order.clone()).collect::<Vec<_>>(), alone.order);
            assert!(batches.iter().flat_map(|batch| batch.patches.clone()).eq(alone.patches));
        }
    }
    let labelled = |rank, world| {
        let source = LabelledSource::new(images(), (0..20).collect(), SETTINGS).unwrap();
        source.sharded(Shard::new(rank, world).unwrap()).batch(3).unwrap()
    };
    let chosen = [labelled(0, 2).examples, labelled(1, 2).examples].concat();
    let both = LabelledSettings { batch: 12, ..SETTINGS };
    assert_eq!(LabelledSource::new(images(), (0..20).collect(), both).unwrap().batch(3).unwrap().examples, chosen);
}

#[test]
fn unaugmented_patches_are_cut_from_the_image_of_their_example() {
    let images = images();
    let settings = PretrainSettings { augmentation: None, ..settings() };
    let batch = PretrainSource::new(images.clone(), None, settings).unwrap().batch(3).unwrap();
    for (patches, &example) in batch.patches.chunks_exact(3072).zip(&batch.examples) {
        let mut joined = vec![0; 3072];
        settings.grid.join(patches, &mut joined);
        assert_eq!(joined, images.stored(example as usize));
    }
}

#[test]
fn an_example_looks_different_in_another_epoch() {
    let one: Arc<[u32]> = Arc::from([7]);
    let batch = PretrainSource::new(images(), Some(one), settings()).unwrap().batch(0).unwrap();
    assert_eq!(batch.examples, [7; 6], "a set smaller than the batch fills it");
    let different = |row: usize, of: usize| batch.order[..of] != batch.order[row * of..][..of];
    assert!((1..6).all(|row| different(row, 16)), "six masks");
    assert!((1..6).any(|row| batch.patches[..3072] != batch.patches[row * 3072..][..3072]));
}

#[test]
fn labelled_batches_hold_only_the_chosen_examples_with_their_labels() {
    let images = images();
    let chosen: Arc<[u32]> = Arc::from([3, 9, 12]);
    let source = LabelledSource::new(images.clone(), chosen.clone(), SETTINGS).unwrap();
    let mut counts = [0; 20];
    for step in 0..5 {
        let batch = source.batch(step).unwrap();
        for (i, &example) in batch.examples.iter().enumerate() {
            counts[example as usize] += 1;
            assert_eq!(batch.labels[i], u32::from(images.label(example as usize)));
            assert_eq!(batch.images[i * 3072..][..3072], *images.stored(example as usize));
        }
    }
    assert!(chosen.iter().all(|&example| counts[example as usize] == 10), "{counts:?}");
}

#[test]
fn augmentation_is_the_same_for_the_same_seed_and_another_for_another() {
    let batch = |seed| {
        let settings = LabelledSettings { augmentation: Some(Augmentation::default()), seed, batch: 20, ..SETTINGS };
        let mut batch = LabelledSource::new(images(), (0..20).collect(), settings).unwrap().batch(0).unwrap();
        let place = batch.examples.iter().position(|&example| example == 0).unwrap();
        batch.images.drain(place * 3072..(place + 1) * 3072).collect::<Vec<u8>>()
    };
    assert_eq!(batch(1), batch(1));
    assert_ne!(batch(1), batch(2));
}

#[test]
fn the_sequential_source_gives_every_example_once_in_order() {
    let source = SequentialSource::new(images(), Some(Arc::from([5, 1, 8, 2, 4])), 2).unwrap();
    assert_eq!(source.n_steps(), 3);
    let examples: Vec<Vec<u32>> = (0..4).map(|step| source.batch(step).unwrap().examples).collect();
    assert_eq!(examples, [vec![5, 1], vec![8, 2], vec![4], vec![]]);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let grid = PatchGrid::new(64, 16).unwrap();
    let masks = MaskSampler::new(49, 12).unwrap();
    let pad = Some(Augmentation {
        crop: Crop::Padded(PaddedCrop { pad: 32, padding: Padding::Reflect }),
        ..Augmentation::default()
    });
    for wrong in [
        PretrainSettings { grid, ..settings() },
        PretrainSettings { masks, ..settings() },
        PretrainSettings { augmentation: pad, ..settings() },
        PretrainSettings { batch: 0, ..settings() },
    ] {
        assert!(PretrainSource::new(images(), None, wrong).is_err(), "{wrong:?}");
    }
    assert!(LabelledSource::new(images(), Arc::from([20]), SETTINGS).is_err());
    assert!(LabelledSource::new(images(), Arc::from([]), SETTINGS).is_err());
    assert!(SequentialSource::new(images(), None, 0).is_err());
}

/// Twenty images as files, some of which are none.
fn with_bad(bad: &[usize]) -> (tempfile::TempDir, Arc<Images>) {
    let folder = tempfile::tempdir().unwrap();
    for idx in 0..20 {
        let path = folder.path().join(format!("{idx:02}.png"));
        if bad.contains(&idx) {
            std::fs::write(path, b"").unwrap();
        } else {
            image::RgbImage::from_pixel(32, 32, image::Rgb([idx as u8; 3])).save(path).unwrap();
        }
    }
    let images = crate::open(crate::SetName::Imagenet32, Some(folder.path())).unwrap().train;
    (folder, images)
}

#[test]
fn unreadable_images_are_replaced_by_the_same_others_whoever_asks() {
    let (_folder, images) = with_bad(&[3, 7]);
    let source = Arc::new(PretrainSource::new(images.clone(), None, settings()).unwrap());
    let inline: Vec<_> = (0..25).map(|step| source.batch(step).unwrap()).collect();
    let used: Vec<u32> = inline.iter().flat_map(|batch| batch.examples.clone()).collect();
    assert!(!used.contains(&3) && !used.contains(&7) && used.len() == 150);
    let mut bad: Vec<u32> = inline.iter().flat_map(|batch| batch.bad.iter().map(|bad| bad.example)).collect();
    bad.sort_unstable();
    bad.dedup();
    assert_eq!(bad, [3, 7]);
    let again = source.clone();
    let loaded: Vec<_> = Loader::new(move |step| again.batch(step), 0..25, 3, 3).map(Result::unwrap).collect();
    assert!(loaded == inline);
    assert!(source.batch(13).unwrap() == inline[13], "a resumed run sees the same");
}

#[test]
fn a_replacement_comes_with_its_own_label_and_an_evaluation_leaves_out() {
    let (_folder, images) = with_bad(&[3]);
    let source = LabelledSource::new(images.clone(), Arc::from([3, 5]), SETTINGS).unwrap();
    let batch = source.batch(0).unwrap();
    assert_eq!(batch.examples, [5; 6]);
    assert!(batch.images.iter().all(|&byte| byte == 5));
    let source = SequentialSource::new(images, Some(Arc::from([2, 3, 4])), 3).unwrap();
    let batch = source.batch(0).unwrap();
    assert_eq!((batch.examples, batch.bad.len(), batch.images.len()), (vec![2, 4], 1, 2 * 3072));
}

#[test]
fn where_nothing_can_be_read_the_batch_is_an_error_and_no_endless_search() {
    let (_folder, images) = with_bad(&(0..20).collect::<Vec<_>>());
    let source = PretrainSource::new(images.clone(), None, settings()).unwrap();
    let error = source.batch(0).unwrap_err();
    assert_eq!(error.kind(), crate::DataErrorKind::BadData);
    assert!(error.to_string().contains("an empty file"), "{error}");
    assert_eq!(images.bad_samples("train").len(), 20);
}

/// Noise of 60 × 40 pixels whose outer columns are red: no centre square has any of them.
fn wide_files(n: usize) -> Arc<Images> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for idx in 0..n {
        let pixel = |x: u32, y: u32| match x {
            10..50 => image::Rgb([0, (x * 5 + idx as u32) as u8, (y * 6) as u8]),
            _ => image::Rgb([255, 0, 0]),
        };
        let mut file = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_fn(60, 40, pixel).write_to(&mut file, image::ImageFormat::Png).unwrap();
        bytes.extend(file.into_inner());
        ends.push(bytes.len() as u64);
    }
    let names = crate::images::Names::Numbered("test".into());
    let files =
        crate::images::Encoded { bytes: crate::images::Bytes::Memory(bytes), ends, names, unread: Default::default() };
    let samples = crate::images::Samples::Encoded(files);
    Arc::new(Images::of_samples(32, samples, vec![0; n], vec!["one".to_owned()]).unwrap())
}

#[test]
fn resized_crops_are_taken_from_files_as_they_are_and_not_from_their_centres() {
    let images = wide_files(12);
    let crop = Crop::Resized(crate::ResizedCrop { min_scale: 0.5 });
    let is_red = |batch: &LabelledBatch| batch.images.chunks_exact(3).any(|pixel| pixel[0] > 200);
    let batch = |augmentation| {
        let settings = LabelledSettings { augmentation: Some(augmentation), ..SETTINGS };
        LabelledSource::new(images.clone(), (0..12).collect(), settings).unwrap().batch(0).unwrap()
    };
    assert!(is_red(&batch(Augmentation { crop, ..Augmentation::default() })));
    assert!(!is_red(&batch(Augmentation::default())));
}

#[test]
fn crops_of_files_do_not_depend_on_the_number_of_workers() {
    let crop = Crop::Resized(crate::ResizedCrop::default());
    let settings =
        LabelledSettings { augmentation: Some(Augmentation { crop, ..Augmentation::default() }), ..SETTINGS };
    let source = Arc::new(LabelledSource::new(wide_files(12), (0..12).collect(), settings).unwrap());
    let inline: Vec<_> = (0..25).map(|step| source.batch(step).unwrap()).collect();
    for workers in [1, 2, 4] {
        let source = source.clone();
        let loaded: Vec<_> =
            Loader::new(move |step| source.batch(step), 0..25, workers, 3).map(Result::unwrap).collect();
        assert!(loaded == inline, "{workers} workers");
    }
}
