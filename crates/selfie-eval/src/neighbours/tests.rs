use super::*;
use selfie_random::{Purpose, Stream};

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Synthetic, 0, 0);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// Every cosine in f64, sorted.
fn slow(rows: &[f32], query: &[f32], width: usize) -> Vec<(usize, f64)> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = |row: &[f32]| dot(row, query) / (dot(row, row).sqrt() * dot(query, query).sqrt());
    let mut all: Vec<(usize, f64)> = rows.chunks_exact(width).map(cosine).enumerate().collect();
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    all
}

#[test]
fn the_nearest_rows_are_those_of_all_cosines_in_double_precision() {
    const WIDTH: usize = 37;
    let (rows, queries) = (numbers(3000 * WIDTH, 1), numbers(300 * WIDTH, 2));
    let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
    let queries_matrix = Matrix::new(&queries, WIDTH).unwrap();
    let found = nearest(Matrix::new(&rows, WIDTH).unwrap(), queries_matrix, 7, None).unwrap();
    assert_eq!(found, nearest(Matrix::of_bytes(&bytes, WIDTH).unwrap(), queries_matrix, 7, None).unwrap());
    assert_eq!(found.len(), 300);
    for (query, found) in queries.chunks_exact(WIDTH).zip(&found) {
        let expected = slow(&rows, query, WIDTH);
        for (neighbour, (row, cosine)) in found.iter().zip(&expected) {
            assert!((f64::from(neighbour.cosine) - cosine).abs() < 1e-5, "{neighbour:?}, expected {row} {cosine}");
        }
        assert_eq!(found[0].row, expected[0].0);
        assert_eq!(found.len(), 7);
    }
}

#[test]
fn more_than_one_block_of_rows_gives_what_one_would() {
    const WIDTH: usize = 512;
    let rows = numbers(5000 * WIDTH, 3);
    let query = &rows[4321 * WIDTH..][..WIDTH];
    let found = nearest(Matrix::new(&rows, WIDTH).unwrap(), Matrix::new(query, WIDTH).unwrap(), 3, None).unwrap();
    let expected: Vec<usize> = slow(&rows, query, WIDTH).iter().take(3).map(|(row, _)| *row).collect();
    assert_eq!(found[0].iter().map(|neighbour| neighbour.row).collect::<Vec<_>>(), expected);
    assert_eq!(found[0][0].row, 4321);
    assert!((found[0][0].cosine - 1.0).abs() < 1e-5);
}

#[test]
fn the_query_itself_can_be_left_out_and_of_equals_the_first_counts() {
    let rows = [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 5.0, 0.0, 0.0];
    let rows = Matrix::new(&rows, 2).unwrap();
    let found = nearest(rows, rows, 2, Some(&[0, 1, 2, 3, 4])).unwrap();
    let pairs = |query: usize| found[query].iter().map(|n| (n.row, n.cosine)).collect::<Vec<_>>();
    assert_eq!(pairs(0), [(2, 1.0), (1, 0.0)]);
    assert_eq!(pairs(1), [(3, 1.0), (0, 0.0)]);
    assert_eq!(pairs(4), [(0, 0.0), (1, 0.0)], "a row of zeros is at a right angle to everything");
}

#[test]
fn few_rows_give_fewer_neighbours_and_other_widths_and_odd_numbers_are_errors() {
    let rows = Matrix::new(&[1.0, 2.0], 2).unwrap();
    assert_eq!(nearest(rows, rows, 5, None).unwrap()[0].len(), 1);
    let other = Matrix::new(&[1.0, 2.0, 3.0], 3).unwrap();
    assert!(matches!(nearest(rows, other, 1, None), Err(EvalError::Widths { expected: 2, got: 3 })));
    let odd = Matrix::new(&[f32::NAN, 1.0], 2).unwrap();
    assert!(matches!(nearest(odd, rows, 1, None), Err(EvalError::NonFinite { .. })));
    assert!(matches!(Matrix::new(&[1.0, 2.0, 3.0], 2), Err(EvalError::Rows { width: 2, got: 3 })));
    assert!(matches!(Matrix::of_bytes(&[0; 10], 2), Err(EvalError::Rows { .. })));
}
