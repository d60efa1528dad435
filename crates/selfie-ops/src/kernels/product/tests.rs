//! Every instruction set's tiles against plain sums, at every tail, with poison around what may be read.

use super::isa::available;
use super::{
    Addend, At, Kernels, NOWHERE, Panels, Rows, Run, Runs, Source, Target, contraction_by, portable, rows_product_by,
};
use crate::Real;
use crate::kernels::memory::Unwritten;
use crate::kernels::numbers::{Kept, Numbers};
use candle_core::WithDType;
use selfie_random::{Purpose, Stream};

fn sums<T: Real>(tag: u32, n: usize) -> Vec<T> {
    let mut stream = Stream::new(3, Purpose::Synthetic, 1, tag);
    (0..n).map(|_| T::from_f64(stream.normal())).collect()
}

fn factors<M: Numbers>(tag: u32, n: usize) -> Vec<M::Stored> {
    sums(tag, n).into_iter().map(M::store).collect()
}

fn value<M: Numbers>(factor: M::Stored) -> f64 {
    M::load(factor).to_f64()
}

fn assert_close<T: Real>(name: &str, got: T, expected: f64, depth: usize, tolerance: f64) {
    let error = (got.to_f64() - expected).abs();
    assert!(error <= tolerance * (depth as f64 + 1.0), "{name}: expected {expected}, got {}", got.to_f64());
}

/// Left rows of `depth` elements that lie `depth + 3` apart, in reverse order and between NaN.
fn check_rows_product<M: Numbers>(name: &str, kernels: &Kernels<M>, tolerance: f64) {
    let group = kernels.group;
    for n_rows in (1..=2 * kernels.rows + 1).chain([37]) {
        for n_columns in
            [1, 3, kernels.columns / 2, kernels.columns - 1, kernels.columns, kernels.columns + 1, 8 * kernels.columns]
        {
            for depth in [group, 5 * group, kernels.depth.min(512) + 7 * group] {
                let shape = (n_rows, n_columns, depth);
                check_one_rows_product::<M, M::Sum>(name, kernels, shape, tolerance);
                check_one_rows_product::<M, M::Stored>(name, kernels, shape, tolerance);
            }
        }
    }
}

fn check_one_rows_product<M: Numbers, C: Kept<M>>(
    name: &str,
    kernels: &Kernels<M>,
    (m, n, k): (usize, usize, usize),
    tolerance: f64,
) {
    let name = format!("{name} {m}x{n}x{k}");
    let step = k + 3;
    let mut a = vec![M::Stored::POISON; m * step];
    let rows = factors::<M>(1, m * k);
    let from: Vec<u32> = (0..m).rev().map(|i| (i * step) as u32).collect();
    for (row, &at) in rows.chunks_exact(k).zip(&from) {
        a[at as usize..][..k].copy_from_slice(row);
    }
    let b = factors::<M>(2, k * n);
    let mut packed = Panels::default();
    packed.pack((k, n), kernels.right(), Source::Rows { data: &b, at: At::Evenly(n) });
    // Two runs that swap the halves of the contraction in both operands.
    let half = k / 2 / kernels.group * kernels.group;
    let runs = Runs::new([Run { a: half, b: half, len: k - half }, Run { a: 0, b: 0, len: half }], kernels.depth);
    // What is kept in fewer bits is the sum, rounded once.
    let rounding = if size_of::<C>() < size_of::<M::Sum>() { 2f64.powi(-8) } else { 0.0 };
    let [before, row] = [(3, m * n), (11, n)].map(|(tag, n)| sums(tag, n).into_iter().map(C::keep).collect::<Vec<C>>());
    for (addend, in_place) in
        [(Addend::Nothing, false), (Addend::Result, true), (Addend::Map(&before), false), (Addend::Row(&row), false)]
    {
        let mut c = if in_place { before.clone() } else { vec![C::POISON; m * n] };
        let rows_at = Rows { n: m, a: At::Listed(&from), c: At::Evenly(n) };
        rows_product_by(kernels, &mut c, (&a, rows_at), (&packed, &runs), addend);
        for (at, &got) in c.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let sum: f64 = (0..k).map(|l| value::<M>(rows[i * k + l]) * value::<M>(b[l * n + j])).sum();
            let expected = sum
                + match addend {
                    Addend::Nothing => 0.0,
                    Addend::Result | Addend::Map(_) => before[at].sum().to_f64(),
                    Addend::Row(_) => row[j].sum().to_f64(),
                };
            assert_close(&name, got.sum(), expected, k, tolerance + rounding * expected.abs() / (k as f64 + 1.0));
        }
    }
}

fn check_contraction<M: Numbers>(name: &str, kernels: &Kernels<M>, tolerance: f64) {
    for m in [1, kernels.panel_rows - 1, kernels.panel_rows, 2 * kernels.panel_rows + 1] {
        for n in [1, kernels.columns / 2, kernels.columns - 1, kernels.columns, kernels.columns + 1] {
            for rows in [2, 4, 30] {
                check_one_contraction(name, kernels, (m, n, rows), tolerance);
            }
        }
    }
}

fn check_one_contraction<M: Numbers>(
    name: &str,
    kernels: &Kernels<M>,
    (m, n, rows): (usize, usize, usize),
    tolerance: f64,
) {
    let name = format!("{name} contraction {m}x{n} of {rows}");
    let (a, b) = (factors::<M>(4, rows * m), factors::<M>(5, 2 * rows * n));
    let (mut left, mut right) = (Panels::default(), Panels::default());
    left.pack((rows, m), kernels.left(), Source::Rows { data: &a, at: At::Evenly(m) });
    right.pack((2 * rows, n), kernels.right(), Source::Rows { data: &b, at: At::Evenly(n) });
    // The first two left rows meet the right operand's last ones; the others meet the rows from the first on.
    let runs = [Run { a: 0, b: 2 * rows - 2, len: 2 }, Run { a: 2, b: 0, len: rows - 2 }];
    let meets = |row: usize| if row < 2 { 2 * rows - 2 + row } else { row - 2 };
    let step = n + 2;
    let before: Vec<M::Sum> = sums(6, m * step);
    for accumulate in [false, true] {
        let mut c = before.clone();
        let target = Target { data: &mut c, step, accumulate };
        contraction_by(kernels, target, (&left, &right), &Runs::new(runs, 6));
        for (at, &got) in c.iter().enumerate() {
            let (i, j) = (at / step, at % step);
            if j >= n {
                assert_eq!(got.to_f64(), before[at].to_f64(), "{name}: wrote beside the target");
                continue;
            }
            let product = |r: usize| value::<M>(a[r * m + i]) * value::<M>(b[meets(r) * n + j]);
            let expected = (0..rows).map(product).sum::<f64>() + if accumulate { before[at].to_f64() } else { 0.0 };
            assert_close(&name, got, expected, rows, tolerance);
        }
    }
}

fn check<M: Numbers>(name: &str, kernels: &Kernels<M>, tolerance: f64) {
    check_rows_product(name, kernels, tolerance);
    check_contraction(name, kernels, tolerance);
    check_packing(name, kernels);
}

/// Rows from a list, one of them of zeros, to a number that is no multiple of the group; then columns.
fn check_packing<M: Numbers>(name: &str, kernels: &Kernels<M>) {
    for shape in [kernels.left(), kernels.right()] {
        for columns in [1, shape.width, 2 * shape.width + 1] {
            let data = factors::<M>(7, 6 * columns);
            let at: Vec<u32> = [5, 0, 2, 1, 4].iter().map(|row| row * columns as u32).collect();
            let at = [&at[..3], &[NOWHERE], &at[3..], &at[..1]].concat();
            let element = |row: usize, column: usize| match at.get(row) {
                Some(&NOWHERE) | None => 0.0,
                Some(&at) => value::<M>(data[at as usize + column]),
            };
            let mut packed = Panels::default();
            packed.pack((at.len(), columns), shape, Source::Rows { data: &data, at: At::Listed(&at) });
            assert_packed::<M>(&format!("{name} rows of {columns}"), &packed, at.len(), element);

            // Two blocks of six rows, the second first, whose columns lie seven apart.
            let data = factors::<M>(8, 2 * columns * 7);
            let element =
                |row: usize, column: usize| value::<M>(data[((1 - row / 6) * columns + column) * 7 + row % 6]);
            packed.pack((12, columns), shape, Source::Transposed { data: &data, block_rows: 6, step: 7 });
            assert_packed::<M>(&format!("{name} columns of {columns}"), &packed, 12, element);
        }
    }
}

fn assert_packed<M: Numbers>(
    name: &str,
    packed: &Panels<M::Stored>,
    rows: usize,
    element: impl Fn(usize, usize) -> f64,
) {
    let (shape, columns) = (packed.shape(), packed.columns());
    assert_eq!(packed.rows(), rows.next_multiple_of(shape.group), "{name}");
    for panel_idx in 0..packed.n_panels() {
        for (i, &got) in packed.panel(panel_idx).iter().enumerate() {
            let row = i / (shape.width * shape.group) * shape.group + i % shape.group;
            let column = panel_idx * shape.width + i / shape.group % shape.width;
            let expected = if row < rows && column < columns { element(row, column) } else { 0.0 };
            assert_eq!(value::<M>(got), expected, "{name}, row {row}, column {column}");
        }
    }
}

#[test]
fn every_tile_of_this_processor_equals_plain_sums_at_every_tail() {
    for set in available() {
        check(set.name, set.exact, 1e-6);
        check(&format!("{} bf16", set.name), set.bf16, 1e-6);
    }
    check("f64", &portable::F64, 1e-14);
    check("f64 bf16", &portable::BF16_F64, 1e-14);
}

#[test]
fn rows_some_kilobytes_apart_are_gathered_and_give_the_same_sums() {
    fn check<M: Numbers>(kernels: &Kernels<M>) {
        let (k, n, rows) = (super::CROWDED_STEP / size_of::<M::Stored>(), 4 * kernels.columns, kernels.rows + 1);
        let (a, b) = (factors::<M>(9, rows * k), factors::<M>(10, k * n));
        let mut packed = Panels::default();
        packed.pack((k, n), kernels.right(), Source::Rows { data: &b, at: At::Evenly(n) });
        let runs = Runs::whole(k, kernels.depth);
        let product = |a: &[M::Stored], step: usize| {
            let mut c = vec![M::Sum::POISON; rows * n];
            rows_product_by(kernels, &mut c, (a, Rows::evenly(rows, step, n)), (&packed, &runs), Addend::Nothing);
            c.into_iter().map(|sum| sum.to_f64()).collect::<Vec<f64>>()
        };
        let apart = k + 2 * kernels.group;
        let mut spread = vec![M::Stored::POISON; rows * apart];
        for (to, from) in spread.chunks_exact_mut(apart).zip(a.chunks_exact(k)) {
            to[..k].copy_from_slice(from);
        }
        assert_eq!(product(&a, k), product(&spread, apart));
    }
    for set in available() {
        check(set.exact);
        check(set.bf16);
    }
}

#[test]
fn what_is_not_a_number_stays_so_when_it_is_kept_in_fewer_bits() {
    for set in available() {
        let kernels = set.bf16;
        let (k, n, rows) = (kernels.group, kernels.columns, kernels.rows);
        let mut b = factors::<crate::kernels::numbers::Bf16<f32>>(12, k * n);
        b[0] = half::bf16::NAN;
        b[1] = half::bf16::INFINITY;
        let mut packed = Panels::default();
        packed.pack((k, n), kernels.right(), Source::Rows { data: &b, at: At::Evenly(n) });
        let a = vec![half::bf16::ONE; rows * k];
        let mut c = vec![half::bf16::ZERO; rows * n];
        let runs = Runs::whole(k, kernels.depth);
        rows_product_by(kernels, &mut c, (&a, Rows::evenly(rows, k, n)), (&packed, &runs), Addend::Nothing);
        for row in c.chunks_exact(n) {
            assert!(row[0].is_nan() && row[1] == half::bf16::INFINITY, "{}: {:?}", set.name, &row[..2]);
            assert!(row[2..].iter().all(|kept| kept.is_finite()), "{}", set.name);
        }
    }
}

#[test]
fn a_product_without_runs_is_zero_or_what_was_there() {
    let kernels = &portable::F64;
    let mut packed = Panels::default();
    packed.pack((1, 3), kernels.right(), Source::Rows { data: &[1.0, 2.0, 3.0], at: At::Evenly(3) });
    let none = Runs::new([], kernels.depth);
    let mut c = vec![f64::NAN; 6];
    rows_product_by(kernels, &mut c, (&[], Rows::evenly(2, 0, 3)), (&packed, &none), Addend::Nothing);
    assert_eq!(c, [0.0; 6]);
    let mut c = vec![7.0; 6];
    rows_product_by(kernels, &mut c, (&[], Rows::evenly(2, 0, 3)), (&packed, &none), Addend::Result);
    assert_eq!(c, [7.0; 6]);
}

#[test]
#[should_panic(expected = "a left row is too short")]
fn a_row_that_ends_beyond_the_operand_is_refused() {
    let kernels = &portable::F64;
    let mut packed = Panels::default();
    packed.pack((2, 1), kernels.right(), Source::Rows { data: &[1.0, 2.0], at: At::Evenly(1) });
    let runs = Runs::new([Run { a: 0, b: 0, len: 2 }], kernels.depth);
    rows_product_by(kernels, &mut [0.0; 2], (&[1.0; 3], Rows::evenly(2, 2, 1)), (&packed, &runs), Addend::Nothing);
}

#[test]
fn runs_are_joined_and_cut_at_the_depth() {
    let neighbours = [Run { a: 0, b: 4, len: 3 }, Run { a: 3, b: 7, len: 2 }, Run { a: 9, b: 0, len: 4 }];
    let runs = Runs::new(neighbours, 4);
    let expected = [
        (vec![Run { a: 0, b: 4, len: 4 }], vec![Run { a: 0, b: 4, len: 4 }]),
        (
            vec![Run { a: 4, b: 8, len: 1 }, Run { a: 9, b: 0, len: 3 }],
            vec![Run { a: 0, b: 8, len: 1 }, Run { a: 1, b: 0, len: 3 }],
        ),
        (vec![Run { a: 12, b: 3, len: 1 }], vec![Run { a: 0, b: 3, len: 1 }]),
    ];
    let got: Vec<_> = runs.blocks.iter().map(|block| (block.runs.clone(), block.gathered.clone())).collect();
    assert_eq!(got, expected);
    assert_eq!((runs.a_end, runs.b_end), (13, 9));
}
