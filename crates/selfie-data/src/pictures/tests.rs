use super::*;
use crate::shapes32;
use std::path::Path;

/// A picture of one colour, as a PNG file.
fn write(path: &Path, side: u32, grey: u8) {
    image::RgbImage::from_pixel(side, side, image::Rgb([grey; 3])).save(path).unwrap();
}

#[test]
fn a_folder_gives_all_images_below_it_by_path_and_bad_ones_are_listed_in_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("b")).unwrap();
    write(&root.join("b/2.png"), 8, 2);
    write(&root.join("a.png"), 8, 1);
    write(&root.join("c.png"), 20, 3);
    std::fs::write(root.join("bad.jpg"), b"no image").unwrap();
    std::fs::write(root.join("notes.md"), b"text").unwrap();

    let pictures = Pictures::files(&[root.to_owned()]).unwrap();
    let names: Vec<String> = (0..pictures.len()).map(|idx| pictures.name(idx)).collect();
    let expected = ["a.png", "b/2.png", "bad.jpg", "c.png"].map(|name| root.join(name).display().to_string());
    assert_eq!(names, expected);

    let squares = pictures.squares(0..4, 4);
    assert_eq!(squares.pictures, [0, 1, 3]);
    assert_eq!(squares.pixels, [[1; 48], [2; 48], [3; 48]].concat());
    assert_eq!(squares.bad.len(), 1);
    assert_eq!((squares.bad[0].example, squares.bad[0].path.as_str()), (2, expected[2].as_str()));
}

#[test]
fn files_keep_the_order_they_were_given_in_and_a_list_the_order_of_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, grey) in [("1.png", 1), ("2.png", 2), ("3.png", 3)] {
        write(&root.join(name), 4, grey);
    }
    std::fs::write(root.join("list.txt"), "3.png\tz\n1.png\ta\n").unwrap();
    let greys = |paths: &[&str]| {
        let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let pictures = Pictures::files(&paths).unwrap();
        pictures.squares(0..pictures.len(), 4).pixels.chunks(48).map(|image| image[0]).collect::<Vec<u8>>()
    };
    assert_eq!(greys(&["3.png", "1.png"]), [3, 1]);
    assert_eq!(greys(&["list.txt", "2.png"]), [3, 1, 2]);
}

#[test]
fn a_path_that_is_not_there_is_missing_and_a_folder_without_images_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Pictures::files(&[folder.path().join("no.png")]).unwrap_err();
    assert_eq!(missing.kind(), crate::DataErrorKind::MissingInput);
    let empty = Pictures::files(&[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(empty, DataError::NoImages { .. }), "{empty}");
}

#[test]
fn a_split_has_names_and_classes_by_number() {
    let data = shapes32::draw(20, 10);
    let pictures = Pictures::split(data.test.clone(), "test");
    assert_eq!((pictures.len(), pictures.name(7).as_str()), (10, "test/7"));
    assert_eq!(pictures.class(7), Some(data.test.class_names()[usize::from(data.test.label(7))].as_str()));
    assert_eq!(pictures.squares(3..5, 32).pixels, [data.test.stored(3), data.test.stored(4)].concat());

    let chosen = Pictures::chosen(data.test.clone(), "test", vec![7, 2]).unwrap();
    assert_eq!((chosen.len(), chosen.name(0), chosen.class(0)), (2, pictures.name(7), pictures.class(7)));
    let squares = chosen.squares(0..2, 32);
    assert_eq!((squares.pictures, squares.pixels), (vec![0, 1], [data.test.stored(7), data.test.stored(2)].concat()));
    assert!(Pictures::chosen(data.test.clone(), "test", vec![10]).is_err());
}
