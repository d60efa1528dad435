use std::sync::Arc;

use super::*;

fn images(values: &[u8], labels: Vec<u16>) -> Arc<Images> {
    let pixels = values.iter().flat_map(|&value| [value; 12]).collect();
    Arc::new(Images::new(2, pixels, labels, vec!["a".into(), "b".into()]).unwrap())
}

#[test]
fn duplicates_are_counted_within_and_between_the_splits() {
    let data = DataSet {
        name: "x".into(),
        train: images(&[1, 2, 1, 3, 1, 2], vec![0, 0, 0, 0, 1, 0]),
        test: images(&[3, 9, 3, 4], vec![0, 1, 0, 0]),
        beside: None,
    };
    let report = SetReport::new(&data);
    assert_eq!((report.train.n_duplicates, report.train.n_duplicates_with_another_label), (3, 1));
    assert_eq!((report.test.n_duplicates, report.test.n_duplicates_with_another_label), (1, 0));
    assert_eq!(report.n_test_images_in_train, 2);
}

#[test]
fn counts_statistics_and_hash_are_the_images_own() {
    let train = images(&[0, 255, 255], vec![1, 1, 0]);
    let data = DataSet { name: "x".into(), test: train.clone(), train, beside: None };
    let report = SetReport::new(&data).train;
    assert_eq!((report.n_images, report.side), (3, 2));
    assert_eq!(report.classes[1], ClassCount { name: "b".into(), n_images: 2 });
    assert_eq!(report.mean.zip(report.std), Some(data.train.mean_std()));
    assert_eq!(report.content_hash, data.train.content_hash());
}

#[test]
fn what_cannot_be_decoded_is_neither_an_image_nor_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir_all(folder.path().join("train").join(class)).unwrap();
        let path = |name: &str| folder.path().join("train").join(class).join(name);
        for name in ["empty.jpg", "empty too.jpg"] {
            std::fs::write(path(name), b"").unwrap();
        }
        std::fs::write(path("good.png"), crate::import::tests::png(8, class.as_bytes()[0])).unwrap();
    }
    let data = crate::open(crate::SetName::Imagenet32, Some(folder.path())).unwrap();
    let report = SetReport::with_bad_samples(&data);
    let train = &report.train;
    assert_eq!((train.n_images, train.n_duplicates, report.bad.len()), (2, 0, 4));
    assert_eq!(train.classes[0], ClassCount { name: "a".into(), n_images: 1 });
}
