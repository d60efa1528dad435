//! The recipes: `configs/*.toml`, embedded in the binary. The crate has a link to that folder, so that it can be packaged.

#[cfg(test)]
mod tests;

/// One embedded recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The name the commands take.
    pub name: &'static str,
    /// The TOML file, header included.
    pub text: &'static str,
}

impl Recipe {
    /// The header's first line after the name: what the recipe is.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or("");
        line.split_once(':').map_or(line, |(_, summary)| summary).trim()
    }
}

macro_rules! recipe {
    ($name:literal) => {
        Recipe { name: $name, text: include_str!(concat!("../configs/", $name, ".toml")) }
    };
}

/// Every recipe, the quickest first.
pub const RECIPES: &[Recipe] =
    &[recipe!("shapes32"), recipe!("cifar10-small"), recipe!("cifar10"), recipe!("imagenet32"), recipe!("imagenet224")];

/// The recipe of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

/// The names of all recipes.
#[must_use]
pub fn names() -> Vec<&'static str> {
    RECIPES.iter().map(|recipe| recipe.name).collect()
}
