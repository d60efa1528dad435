//! Colours: those of the pictures' parts, of classes, and of numbers.

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// Behind everything.
    pub const PAPER: Self = Self([255, 255, 255]);
    /// Text.
    pub const INK: Self = Self([33, 37, 41]);
    /// Text that matters less.
    pub const FAINT: Self = Self([110, 118, 126]);
    /// Lines and empty places.
    pub const LINE: Self = Self([214, 219, 224]);
    /// What is hidden.
    pub const HIDDEN: Self = Self([226, 230, 234]);
    /// Right.
    pub const RIGHT: Self = Self([25, 135, 84]);
    /// Wrong.
    pub const WRONG: Self = Self([200, 48, 48]);
    /// A bar of a probability.
    pub const BAR: Self = Self([96, 125, 160]);

    /// A mix with another colour, of which it has `share`.
    #[must_use]
    pub fn mixed(self, other: Self, share: f32) -> Self {
        let share = share.clamp(0.0, 1.0);
        let mix = |i: usize| (f32::from(self.0[i]) * (1.0 - share) + f32::from(other.0[i]) * share).round() as u8;
        Self([mix(0), mix(1), mix(2)])
    }

    /// One of ten colours that are easy to tell apart (Tableau's), then lighter ones.
    #[must_use]
    pub fn of_class(class: usize) -> Self {
        const TEN: [[u8; 3]; 10] = [
            [31, 119, 180],
            [255, 127, 14],
            [44, 160, 44],
            [214, 39, 40],
            [148, 103, 189],
            [140, 86, 75],
            [227, 119, 194],
            [127, 127, 127],
            [188, 189, 34],
            [23, 190, 207],
        ];
        let lighter = (class / TEN.len()) as f32 * 0.35;
        Self(TEN[class % TEN.len()]).mixed(Self::PAPER, lighter.min(0.7))
    }

    /// A number of 0 to 1 from dark blue over green to yellow: matplotlib's viridis at nine places.
    #[must_use]
    pub fn of_share(share: f32) -> Self {
        const STOPS: [[u8; 3]; 9] = [
            [68, 1, 84],
            [72, 40, 120],
            [62, 74, 137],
            [49, 104, 142],
            [38, 130, 142],
            [31, 158, 137],
            [53, 183, 121],
            [110, 206, 88],
            [253, 231, 37],
        ];
        let place = if share.is_finite() { share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32 } else { 0.0 };
        let below = (place as usize).min(STOPS.len() - 2);
        Self(STOPS[below]).mixed(Self(STOPS[below + 1]), place - below as f32)
    }

    /// A number of −1 to 1 from blue over white to red.
    #[must_use]
    pub fn of_signed(value: f32) -> Self {
        let strength = value.abs().min(1.0);
        let end = if value < 0.0 { Self([33, 102, 172]) } else { Self([178, 24, 43]) };
        Self::PAPER.mixed(end, strength)
    }
}
