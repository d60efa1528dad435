//! Every instruction set's tiles against plain sums, at every tail, with poison around what may be read.

use super::isa::available_f32;
use super::{At, Kernels, Panels, Rows, Run, Runs, Source, Target, contraction_by, portable, rows_product_by};
use crate::Real;
use selfie_random::{Purpose, Stream};

fn numbers<T: Real>(tag: u32, n: usize) -> Vec<T> {
    let mut stream = Stream::new(3, Purpose::Synthetic, 1, tag);
    (0..n).map(|_| T::from_f64(stream.normal())).collect()
}

fn assert_close<T: Real>(name: &str, got: T, expected: f64, depth: usize, tolerance: f64) {
    let error = (got.to_f64() - expected).abs();
    assert!(error <= tolerance * (depth as f64 + 1.0), "{name}: expected {expected}, got {}", got.to_f64());
}

/// Left rows of `depth` elements that lie `depth + 3` apart, in reverse order and between NaN.
fn check_rows_product<T: Real>(kernels: &Kernels<T>, tolerance: f64) {
    for n_rows in (1..=2 * kernels.rows + 1).chain([37]) {
        for n_columns in [1, 3, kernels.columns - 1, kernels.columns, kernels.columns + 1, 2 * kernels.columns] {
            for depth in [1, 5, kernels.depth + 7] {
                check_one_rows_product(kernels, (n_rows, n_columns, depth), tolerance);
            }
        }
    }
}

fn check_one_rows_product<T: Real>(kernels: &Kernels<T>, (m, n, k): (usize, usize, usize), tolerance: f64) {
    let name = format!("{} {m}x{n}x{k}", kernels.name);
    let step = k + 3;
    let mut a = vec![T::from_f64(f64::NAN); m * step];
    let rows: Vec<T> = numbers(1, m * k);
    let from: Vec<u32> = (0..m).rev().map(|i| (i * step) as u32).collect();
    for (row, &at) in rows.chunks_exact(k).zip(&from) {
        a[at as usize..][..k].copy_from_slice(row);
    }
    let b: Vec<T> = numbers(2, k * n);
    let mut packed = Panels::default();
    packed.pack((k, n), kernels.columns, Source::Rows { data: &b, at: At::Evenly(n) });
    // Two runs that swap the halves of the contraction in both operands.
    let half = k / 2;
    let runs = Runs::new([Run { a: half, b: half, len: k - half }, Run { a: 0, b: 0, len: half }], kernels.depth);
    let before: Vec<T> = numbers(3, m * n);
    for accumulate in [false, true] {
        let mut c = if accumulate { before.clone() } else { vec![T::from_f64(f64::NAN); m * n] };
        let rows_at = Rows { n: m, a: At::Listed(&from), c: At::Evenly(n) };
        rows_product_by(kernels, &mut c, (&a, rows_at), (&packed, &runs), accumulate);
        for (at, &got) in c.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let sum: f64 = (0..k).map(|l| rows[i * k + l].to_f64() * b[l * n + j].to_f64()).sum();
            let expected = sum + if accumulate { before[at].to_f64() } else { 0.0 };
            assert_close(&name, got, expected, k, tolerance);
        }
    }
}

fn check_contraction<T: Real>(kernels: &Kernels<T>, tolerance: f64) {
    for m in [1, kernels.rows - 1, kernels.rows, 2 * kernels.rows + 1] {
        for n in [1, kernels.columns - 1, kernels.columns, kernels.columns + 1] {
            for rows in [1, 4, 29] {
                check_one_contraction(kernels, (m, n, rows), tolerance);
            }
        }
    }
}

fn check_one_contraction<T: Real>(kernels: &Kernels<T>, (m, n, rows): (usize, usize, usize), tolerance: f64) {
    let name = format!("{} contraction {m}x{n} of {rows}", kernels.name);
    let (a, b): (Vec<T>, Vec<T>) = (numbers(4, rows * m), numbers(5, 2 * rows * n));
    let (mut left, mut right) = (Panels::default(), Panels::default());
    left.pack((rows, m), kernels.rows, Source::Rows { data: &a, at: At::Evenly(m) });
    right.pack((2 * rows, n), kernels.columns, Source::Rows { data: &b, at: At::Evenly(n) });
    // The first left row meets the right operand's last but one; the others meet the rows from the first on.
    let runs = [Run { a: 0, b: 2 * rows - 2, len: 1 }, Run { a: 1, b: 0, len: rows - 1 }];
    let meets = |row: usize| if row == 0 { 2 * rows - 2 } else { row - 1 };
    let step = n + 2;
    let before: Vec<T> = numbers(6, m * step);
    for accumulate in [false, true] {
        let mut c = before.clone();
        let target = Target { data: &mut c, step, accumulate };
        contraction_by(kernels, target, (&left, &right), &Runs::new(runs, 7));
        for (at, &got) in c.iter().enumerate() {
            let (i, j) = (at / step, at % step);
            if j >= n {
                assert_eq!(got.to_f64(), before[at].to_f64(), "{name}: wrote beside the target");
                continue;
            }
            let sum: f64 = (0..rows).map(|r| a[r * m + i].to_f64() * b[meets(r) * n + j].to_f64()).sum();
            let expected = sum + if accumulate { before[at].to_f64() } else { 0.0 };
            assert_close(&name, got, expected, rows, tolerance);
        }
    }
}

#[test]
fn every_tile_of_this_processor_equals_plain_sums_at_every_tail() {
    for kernels in available_f32() {
        check_rows_product(kernels, 1e-6);
        check_contraction(kernels, 1e-6);
    }
    check_rows_product(&portable::F64, 1e-14);
    check_contraction(&portable::F64, 1e-14);
}

#[test]
fn a_product_without_runs_is_zero_or_what_was_there() {
    let kernels = &portable::F64;
    let mut packed = Panels::default();
    packed.pack((1, 3), kernels.columns, Source::Rows { data: &[1.0, 2.0, 3.0], at: At::Evenly(3) });
    let none = Runs::new([], kernels.depth);
    let mut c = vec![f64::NAN; 6];
    rows_product_by(kernels, &mut c, (&[], Rows::evenly(2, 0, 3)), (&packed, &none), false);
    assert_eq!(c, [0.0; 6]);
    let mut c = vec![7.0; 6];
    rows_product_by(kernels, &mut c, (&[], Rows::evenly(2, 0, 3)), (&packed, &none), true);
    assert_eq!(c, [7.0; 6]);
}

#[test]
#[should_panic(expected = "a left row is too short")]
fn a_row_that_ends_beyond_the_operand_is_refused() {
    let kernels = &portable::F64;
    let mut packed = Panels::default();
    packed.pack((2, 1), kernels.columns, Source::Rows { data: &[1.0, 2.0], at: At::Evenly(1) });
    let runs = Runs::new([Run { a: 0, b: 0, len: 2 }], kernels.depth);
    rows_product_by(kernels, &mut [0.0; 2], (&[1.0; 3], Rows::evenly(2, 2, 1)), (&packed, &runs), false);
}

#[test]
fn runs_are_joined_and_cut_at_the_depth() {
    let neighbours = [Run { a: 0, b: 4, len: 3 }, Run { a: 3, b: 7, len: 2 }, Run { a: 9, b: 0, len: 4 }];
    let runs = Runs::new(neighbours, 4);
    let expected = [
        Run { a: 0, b: 4, len: 4 },
        Run { a: 4, b: 8, len: 1 },
        Run { a: 9, b: 0, len: 3 },
        Run { a: 12, b: 3, len: 1 },
    ];
    assert_eq!(runs.runs, expected);
    assert_eq!(runs.blocks, [0..1, 1..3, 3..4]);
    assert_eq!((runs.a_end, runs.b_end), (13, 9));
}
