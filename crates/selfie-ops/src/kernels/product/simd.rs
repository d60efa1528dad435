//! The text of the tiles of every x86 instruction set; the sets differ in their registers and the names of their instructions.

/// Adds the products of a broadcast left element and a row of the right operand's panel to `$sums`, over all `$runs`. `$at` is
/// where the left element of step `k` and row `r` lies, whose step 0 is the operand's first.
///
/// One loop over the steps of all runs: around one loop the compiler keeps the sums in registers.
macro_rules! add_products {
    (
        $sums:ident, $runs:expr, $panel:expr, $group:literal, |$k:ident, $r:ident| $at:expr,
        $factors:ty, $load:path, $broadcast:path, $multiply_add:path
    ) => {
        let mut runs = $runs.iter();
        let (mut $k, mut end, mut b) = (0, 0, $panel);
        loop {
            if $k == end {
                let Some(run) = runs.next() else { break };
                $k = run.a / $group;
                end = $k + run.len / $group;
                // SAFETY: the caller's.
                b = unsafe { $panel.add(run.b / $group * COLUMNS) };
            }
            // SAFETY: the caller's.
            unsafe {
                let row: [$factors; W] = std::array::from_fn(|v| $load(b.add(v * LANES)));
                for ($r, sums) in $sums.iter_mut().enumerate() {
                    let a = $broadcast($at);
                    for v in 0..W {
                        sums[v] = $multiply_add(a, row[v], sums[v]);
                    }
                }
                b = b.add(COLUMNS);
            }
            $k += 1;
        }
    };
}

/// The tiles of one instruction set for one kind of factors: `$tiles`, from the constants `ROWS`, `PANEL_ROWS`, `VECTORS`,
/// `LANES` and `DEPTH` beside it.
///
/// `$element` is what one step multiplies of a row or a column: `$group` factors that lie side by side.
macro_rules! tiles {
    (
        $tiles:ident: $numbers:ty, $features:literal, $element:ty, $group:literal,
        $factors:ty, $load:path, $broadcast:path, $multiply_add:path,
        $vector:ty, $setzero:path, $loadu:path, $storeu:path, $add:path
        $(, kept: $kept:ty, $widen:path, $round:path)?
    ) => {
        const COLUMNS: usize = VECTORS * LANES;

        pub(in crate::kernels::product) static $tiles: Kernels<$numbers> = Kernels {
            rows: ROWS,
            panel_rows: PANEL_ROWS,
            columns: COLUMNS,
            group: $group,
            depth: DEPTH,
            tiles: tiles_of::<VECTORS>(),
            narrow: Some((LANES, tiles_of::<1>())),
        };

        const fn tiles_of<const W: usize>() -> Tiles<$numbers> {
            Tiles {
                rows_to_sums: rows_tile::<W, f32>,
                rows_to_stored: rows_tile::<W, <$numbers as Numbers>::Stored>,
                panels: panel_tile::<W>,
            }
        }

        /// What a vector of sums is kept as.
        trait Lanes: Copy {
            /// # Safety
            ///
            /// As many lanes as a vector has must be readable; the processor must have the instruction set.
            unsafe fn load(at: *const Self) -> $vector;
            /// # Safety
            ///
            /// As [`Self::load`], writable.
            unsafe fn store(at: *mut Self, lanes: $vector);
        }

        impl Lanes for f32 {
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn load(at: *const Self) -> $vector {
                // SAFETY: the caller's.
                unsafe { $loadu(at) }
            }
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn store(at: *mut Self, lanes: $vector) {
                // SAFETY: the caller's.
                unsafe { $storeu(at, lanes) }
            }
        }

        $(
            impl Lanes for $kept {
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn load(at: *const Self) -> $vector {
                    // SAFETY: the caller's.
                    unsafe { $widen(at) }
                }
                #[inline]
                #[target_feature(enable = $features)]
                unsafe fn store(at: *mut Self, lanes: $vector) {
                    // SAFETY: the caller's.
                    unsafe { $round(at, lanes) }
                }
            }
        )?

        type Sums<const N: usize, const W: usize> = [[$vector; W]; N];

        /// # Safety
        ///
        /// The processor must have the instruction set; every address that the tile's runs reach must be readable, its results
        /// writable.
        #[target_feature(enable = $features)]
        unsafe fn rows_tile<const W: usize, C: Lanes>(tile: &RowsTile<'_, $numbers, C>) {
            let mut sums: Sums<ROWS, W> = [[$setzero(); W]; ROWS];
            // SAFETY: the caller's.
            let (a, b): ([*const $element; ROWS], *const $element) =
                unsafe { (std::array::from_fn(|r| tile.a.get_unchecked(r).cast()), tile.b.cast()) };
            add_products!(
                sums, tile.runs, b, $group, |k, r| a[r].add(k),
                $factors, $load, $broadcast, $multiply_add
            );
            for (r, sums) in sums.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { store(sums, tile.c(r), tile.addend(r)) };
            }
        }

        /// # Safety
        ///
        /// As [`rows_tile`].
        #[target_feature(enable = $features)]
        unsafe fn panel_tile<const W: usize>(tile: &PanelTile<'_, $numbers>) {
            let mut sums: Sums<PANEL_ROWS, W> = [[$setzero(); W]; PANEL_ROWS];
            let (a, b): (*const $element, *const $element) = (tile.a.cast(), tile.b.cast());
            add_products!(
                sums, tile.runs, b, $group, |k, r| a.add(k * PANEL_ROWS + r),
                $factors, $load, $broadcast, $multiply_add
            );
            for (i, sums) in sums.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let c = tile.c.add(i * tile.c_step);
                    store(sums, c, tile.accumulate.then_some(c.cast_const()));
                }
            }
        }

        /// # Safety
        ///
        /// `c` must be writable for a row, the addend readable; the processor must have the instruction set.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn store<const W: usize, C: Lanes>(sums: &[$vector; W], c: *mut C, addend: Option<*const C>) {
            for (v, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let sum = match addend {
                        Some(addend) => $add(C::load(addend.add(v * LANES)), sum),
                        None => sum,
                    };
                    C::store(c.add(v * LANES), sum);
                }
            }
        }
    };
}
