use super::*;
use crate::DataErrorKind;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|class| format!("class {class}")).collect()
}

#[test]
fn wrong_byte_counts_and_labels_without_a_class_are_refused() {
    for bad in [
        Images::new(2, vec![0; 23], vec![0, 1], names(2)),
        Images::new(2, vec![0; 24], vec![0, 2], names(2)),
        Images::new(0, vec![], vec![0], names(2)),
    ] {
        assert_eq!(bad.map_err(|error| error.kind()), Err(DataErrorKind::BadData));
    }
    assert!(Images::new(2, vec![0; 24], vec![0, 1], names(2)).is_ok());
}

#[test]
fn images_labels_and_counts_are_found_by_index() {
    let images = Images::new(1, vec![1, 2, 3, 4, 5, 6, 7, 8, 9], vec![1, 0, 1], names(3)).unwrap();
    assert_eq!((images.len(), images.side(), images.n_classes()), (3, 1, 3));
    assert_eq!(*images.image(1).unwrap(), [4, 5, 6]);
    assert_eq!(images.label(2), 1);
    assert_eq!(images.class_counts(), [1, 2, 0]);
}

#[test]
fn mean_and_std_are_per_channel_and_in_units_of_255() {
    let images = Images::new(1, vec![0, 51, 255, 255, 51, 255], vec![0, 0], names(1)).unwrap();
    let (mean, std) = images.mean_std();
    assert_eq!(mean, [0.5, 0.2, 1.0]);
    assert_eq!(std, [0.5, 0.0, 0.0]);
    let none = Images::new(1, vec![], vec![], names(1)).unwrap();
    assert_eq!(none.mean_std(), ([0.0; 3], [0.0; 3]));
}

#[test]
fn the_content_hash_depends_on_pixels_labels_and_shape() {
    let hash = |side, pixels: Vec<u8>, labels| Images::new(side, pixels, labels, names(9)).unwrap().content_hash();
    let base = hash(1, vec![0; 12], vec![0, 1, 2, 3]);
    assert_eq!(base, hash(1, vec![0; 12], vec![0, 1, 2, 3]));
    assert_ne!(base, hash(1, vec![0; 12], vec![0, 1, 2, 4]));
    assert_ne!(base, hash(1, vec![1; 12], vec![0, 1, 2, 3]));
    assert_ne!(base, hash(2, vec![0; 12], vec![0]));
}
