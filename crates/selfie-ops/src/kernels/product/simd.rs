//! The text of the tiles of every x86 instruction set; the sets differ in their registers and the names of their instructions.

/// Adds `len` products of a broadcast left element and a row of the right operand's panel to `$sums`, which must be a local
/// variable: the compiler then keeps it in registers. `$at` is where the left element of step `k` and row `r` lies.
macro_rules! add_products {
    ($sums:ident, $len:expr, $b:ident, |$k:ident, $r:ident| $at:expr, $vector:ty, $loadu:path, $broadcast:path, $fmadd:path) => {
        for $k in 0..$len {
            // SAFETY: the caller's.
            unsafe {
                let b: [$vector; VECTORS] = std::array::from_fn(|v| $loadu($b.add($k * COLUMNS + v * LANES)));
                for ($r, sums) in $sums.iter_mut().enumerate() {
                    let a = $broadcast(&*$at);
                    for v in 0..VECTORS {
                        sums[v] = $fmadd(a, b[v], sums[v]);
                    }
                }
            }
        }
    };
}

/// The tiles of one instruction set: `F32`, from the constants `ROWS`, `VECTORS`, `LANES` and `DEPTH` beside it.
macro_rules! tiles {
    (
        $name:literal, $features:literal, $vector:ty,
        $setzero:path, $loadu:path, $storeu:path, $add:path, $fmadd:path, $broadcast:path
    ) => {
        const COLUMNS: usize = VECTORS * LANES;

        pub(super) static F32: Kernels<f32> =
            Kernels { name: $name, rows: ROWS, columns: COLUMNS, depth: DEPTH, rows_tile, panel_tile };

        type Sums = [[$vector; VECTORS]; ROWS];

        /// # Safety
        ///
        /// The processor must have the instruction set; every address that the tile's runs reach must be readable, its results
        /// writable.
        #[target_feature(enable = $features)]
        unsafe fn rows_tile(tile: &RowsTile<'_, f32>) {
            if let &[run] = tile.runs {
                // SAFETY: the caller's.
                return unsafe { whole_tile(tile, run) };
            }
            let mut sums: Sums = [[$setzero(); VECTORS]; ROWS];
            for run in tile.runs {
                // SAFETY: the caller's.
                unsafe {
                    let a: [*const f32; ROWS] = std::array::from_fn(|r| tile.a[r].add(run.a));
                    add_run(&mut sums, &a, tile.b.add(run.b * COLUMNS), run.len);
                }
            }
            for (sums, &c) in sums.iter().zip(&tile.c) {
                // SAFETY: the caller's.
                unsafe { store(sums, c, tile.accumulate) };
            }
        }

        /// A tile of one run, whose sums never leave the registers.
        ///
        /// # Safety
        ///
        /// As [`rows_tile`].
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn whole_tile(tile: &RowsTile<'_, f32>, run: Run) {
            let mut sums: Sums = [[$setzero(); VECTORS]; ROWS];
            // SAFETY: the caller's.
            let (a, b): ([*const f32; ROWS], _) =
                unsafe { (std::array::from_fn(|r| tile.a[r].add(run.a)), tile.b.add(run.b * COLUMNS)) };
            add_products!(sums, run.len, b, |k, r| a[r].add(k), $vector, $loadu, $broadcast, $fmadd);
            for (sums, &c) in sums.iter().zip(&tile.c) {
                // SAFETY: the caller's.
                unsafe { store(sums, c, tile.accumulate) };
            }
        }

        /// One run of [`rows_tile`]. A function of its own, or the compiler keeps some of the sums in memory.
        ///
        /// # Safety
        ///
        /// As [`rows_tile`].
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn add_run(sums_out: &mut Sums, a: &[*const f32; ROWS], b: *const f32, len: usize) {
            let (mut sums, a) = (*sums_out, *a);
            add_products!(sums, len, b, |k, r| a[r].add(k), $vector, $loadu, $broadcast, $fmadd);
            *sums_out = sums;
        }

        /// # Safety
        ///
        /// As [`rows_tile`].
        #[target_feature(enable = $features)]
        unsafe fn panel_tile(tile: &PanelTile<'_, f32>) {
            let mut sums: Sums = [[$setzero(); VECTORS]; ROWS];
            for run in tile.runs {
                // SAFETY: the caller's.
                unsafe { add_panel_run(&mut sums, tile.a.add(run.a * ROWS), tile.b.add(run.b * COLUMNS), run.len) };
            }
            for (i, sums) in sums.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { store(sums, tile.c.add(i * tile.c_step), tile.accumulate) };
            }
        }

        /// One run of [`panel_tile`], as [`add_run`].
        ///
        /// # Safety
        ///
        /// As [`rows_tile`].
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn add_panel_run(sums_out: &mut Sums, a: *const f32, b: *const f32, len: usize) {
            let mut sums = *sums_out;
            add_products!(sums, len, b, |k, r| a.add(k * ROWS + r), $vector, $loadu, $broadcast, $fmadd);
            *sums_out = sums;
        }

        /// # Safety
        ///
        /// `c` must be writable for a row; the processor must have the instruction set.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn store(sums: &[$vector; VECTORS], c: *mut f32, accumulate: bool) {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let c = c.add(v * LANES);
                    let sum = if accumulate { $add($loadu(c), sum) } else { sum };
                    $storeu(c, sum);
                }
            }
        }
    };
}
