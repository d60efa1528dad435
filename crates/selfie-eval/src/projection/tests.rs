use super::*;
use selfie_random::{Purpose, Stream};

const WIDTH: usize = 10;

/// Three groups far apart in different directions.
fn groups(n: usize) -> Vec<f32> {
    let mut stream = Stream::new(9, Purpose::Synthetic, 0, 0);
    (0..n)
        .flat_map(|i| {
            let mut row = [0f32; WIDTH];
            row.iter_mut().for_each(|value| *value = 0.3 * stream.normal() as f32);
            row[i % 3] += 4.0;
            row
        })
        .collect()
}

#[test]
fn the_main_directions_are_those_of_the_largest_variances() {
    let mut stream = Stream::new(2, Purpose::Synthetic, 0, 0);
    let spread = [0.1, 5.0, 0.2, 2.0];
    let rows: Vec<f32> = (0..4000).map(|i| 7.0 + (stream.normal() * spread[i % 4]) as f32).collect();
    let points = main_directions(Matrix::new(&rows, 4).unwrap());
    for (axis, column) in [(0, 1), (1, 3)] {
        let pairs = points.iter().zip(rows.chunks_exact(4)).map(|(point, row)| (point[axis], row[column] - 7.0));
        let error: f32 = pairs.map(|(found, expected)| (found.abs() - expected.abs()).abs()).sum::<f32>() / 1000.0;
        assert!(error < 0.2, "axis {axis}: {error}");
    }
}

#[test]
fn points_of_tsne_have_their_neighbours_in_their_own_group_and_are_the_same_each_time() {
    let rows = groups(300);
    let points = tsne(Matrix::new(&rows, WIDTH).unwrap()).unwrap();
    let away = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let mut n_own = 0;
    for (i, &point) in points.iter().enumerate() {
        let others = (0..points.len()).filter(|&other| other != i);
        let near = others.min_by(|&a, &b| away(points[a], point).total_cmp(&away(points[b], point))).unwrap();
        n_own += usize::from(near % 3 == i % 3);
    }
    assert!(n_own > 290, "{n_own} of 300 have their nearest point in their group");
    assert_eq!(points, tsne(Matrix::new(&rows, WIDTH).unwrap()).unwrap());
}

#[test]
fn a_handful_of_rows_is_shown_by_its_main_directions() {
    let rows = groups(5);
    let rows = Matrix::new(&rows, WIDTH).unwrap();
    assert_eq!(tsne(rows).unwrap(), main_directions(rows));
}
