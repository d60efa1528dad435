use super::*;
use selfie_random::{Purpose, Stream};

#[test]
fn the_mean_cosine_is_that_of_all_pairs() {
    // Cosines of the pairs: 0, −1, 0, and the row of zeros has none with anything.
    let rows = [2.0, 0.0, 0.0, 3.0, -1.0, 0.0];
    let found = mean_cosine(Matrix::new(&rows, 2).unwrap());
    assert!((found + 1.0 / 3.0).abs() < 1e-7, "{found}");
    assert!((mean_cosine(Matrix::new(&[1.0, 2.0, 2.0, 4.0], 2).unwrap()) - 1.0).abs() < 1e-6);
    assert_eq!(mean_cosine(Matrix::new(&[1.0, 2.0], 2).unwrap()), 0.0);
}

#[test]
fn rows_fill_as_many_directions_as_they_have() {
    const WIDTH: usize = 8;
    let mut stream = Stream::new(5, Purpose::Synthetic, 0, 0);
    let rows: Vec<f32> = (0..20_000)
        .flat_map(|_| {
            let mut row = [1.0f32; WIDTH];
            // Three directions of equal variance upon a constant.
            row.iter_mut().take(3).for_each(|value| *value += stream.normal() as f32);
            row
        })
        .collect();
    let found = participation_ratio(Matrix::new(&rows, WIDTH).unwrap()).unwrap();
    assert!((found - 3.0).abs() < 0.02, "{found}");
    let same = [1.0, 2.0, 1.0, 2.0];
    assert_eq!(participation_ratio(Matrix::new(&same, 2).unwrap()).unwrap(), 0.0);
}
